"""Layers of values over a schema: every assignment is looked up, validated and remembered."""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from pydantic import BaseModel

from reverie.config.errors import ConfigError, shorten, suggestion
from reverie.config.keys import Leaf, groups, leaves

_REGEX_SIGNS = frozenset(r"*+?[](){}|^$\\")


class Overlay:
    """Values set so far, later layers over earlier ones.

    Keys are full dotted paths (`agent.dyn.deter`), paths below a free-form mapping
    (`env.gym.kwargs.max_episode_steps`) or regular expressions that match whole paths
    (`.*\\.units`).

    Args:
        model: Schema class that defines the keys.
    """

    def __init__(self, model: type[BaseModel]):
        self._leaves = leaves(model)
        self._groups = groups(model)
        self._values: dict[str, Any] = {}
        self._sources: dict[str, str] = {}

    @property
    def sources(self) -> dict[str, str]:
        """Dotted key -> where its value came from, for every key that was set."""
        return dict(self._sources)

    def get(self, key: str) -> Any:
        """The present value of an option."""
        return self._values.get(key, self._leaves[key].default)

    def update(self, layer: Mapping[Any, Any], source: str) -> None:
        """Set everything in a mapping, which may be nested, dotted or both.

        Raises:
            ConfigError: Unknown, ambiguous or repeated keys, and invalid values.
        """
        seen: set[str] = set()
        for key, value in self._flatten(layer, "", source):
            if key in seen:
                raise ConfigError(f"Ambiguous: {source} sets {key} twice. Remove one of the two.")
            seen.add(key)
            self.set(key, value, source)

    def set(self, key: str, value: Any, source: str) -> None:
        """Set one key; a regular expression sets every option whose path it matches."""
        self.set_each(key, lambda leaf: value, source, repr(value))

    def set_each(
        self, key: str, read: Callable[[Leaf | None], Any], source: str, shown: str
    ) -> None:
        """Set one key to a value that depends on the type of the option.

        Args:
            key: Path or regular expression.
            read: Option -> value; it gets None for a key inside a free-form mapping.
            source: Where the value came from.
            shown: The value as the user wrote it, for messages.
        """
        for leaf, rest in self.find(key, source, shown):
            if rest:
                value = _insert(self.get(leaf.key), rest, read(None))
            else:
                value = leaf.validate(read(leaf), source, shown)
            self._values[leaf.key] = value
            self._sources[leaf.key] = source

    def find(self, key: str, source: str, shown: str) -> list[tuple[Leaf, tuple[str, ...]]]:
        """The options that a key names, with the path inside a free-form mapping if any.

        Raises:
            ConfigError: The key names no option, or a section.
        """
        shown = shorten(shown)
        if key in self._leaves:
            return [(self._leaves[key], ())]
        for leaf in self._leaves.values():
            if leaf.kind is dict and key.startswith(leaf.key + "."):
                return [(leaf, tuple(key[len(leaf.key) + 1 :].split(".")))]
        if key in self._groups:
            inside = [name for name in self._leaves if name.startswith(key + ".")]
            raise ConfigError(
                f"Ambiguous key {key} = {shown} from {source}: it is a section with the options "
                f"{', '.join(inside[:8])}{', ...' if len(inside) > 8 else ''}. Set one of them, "
                "or give a mapping."
            )
        if _REGEX_SIGNS & set(key):
            return [(leaf, ()) for leaf in self._match(key, source, shown)]
        raise ConfigError(self._unknown(key, source, shown))

    def tree(self) -> dict[str, Any]:
        """The values that were set, nested as the schema is."""
        root: dict[str, Any] = {}
        for key, value in self._values.items():
            *parents, name = key.split(".")
            node = root
            for parent in parents:
                node = node.setdefault(parent, {})
            node[name] = value
        return root

    def _match(self, key: str, source: str, shown: str) -> list[Leaf]:
        try:
            pattern = re.compile(key)
        except re.error as error:
            raise ConfigError(
                f"Key {key} = {shown} from {source} is not a valid regular expression: {error}."
            ) from None
        found = [leaf for name, leaf in self._leaves.items() if pattern.fullmatch(name)]
        if not found:
            words = ".".join(re.findall(r"\w+", key))
            raise ConfigError(
                f"The regular expression {key} = {shown} from {source} matches no option; it has "
                f"to match a whole dotted path.{suggestion(words, self._leaves)}"
            )
        return found

    def _unknown(self, key: str, source: str, shown: str) -> str:
        endings = [name for name in self._leaves if name.endswith("." + key)]
        if len(endings) > 1:
            return (
                f"Ambiguous key {key} = {shown} from {source}: it could be any of "
                f"{', '.join(endings[:8])}{', ...' if len(endings) > 8 else ''}. Write the whole "
                rf"path, or .*\.{key} for all of them."
            )
        return (
            f"Unknown key {key!r} = {shown} from {source}: expected the dotted path of an option."
            f"{suggestion(key, (*self._leaves, *self._groups))} "
            "`reverie config` lists all options."
        )

    def _flatten(
        self, layer: Mapping[Any, Any], prefix: str, source: str
    ) -> Iterator[tuple[str, Any]]:
        for name, value in layer.items():
            key = f"{prefix}{name}"
            if key in self._groups and isinstance(value, Mapping):
                yield from self._flatten(value, key + ".", source)
            else:
                yield key, value


def _insert(mapping: Mapping[str, Any], path: tuple[str, ...], value: Any) -> dict[str, Any]:
    name, *rest = path
    if not rest:
        return {**mapping, name: value}
    inner = mapping.get(name, {})
    return {
        **mapping,
        name: _insert(inner if isinstance(inner, Mapping) else {}, tuple(rest), value),
    }
