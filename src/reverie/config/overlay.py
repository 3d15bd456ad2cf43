"""Layers of values: every assignment is looked up, validated and remembered."""

import re
from collections.abc import Callable, Mapping
from typing import Any

from reverie.config.nearest import shorten, suggestion
from reverie.config.schema import Config
from reverie.config.syntax.keys import Leaf, flatten, groups, leaves
from reverie.errors import ConfigError

_REGEX_SIGNS = frozenset(r"*+?[](){}|^$\\")


class Overlay:
    """Values set so far, later layers over earlier ones.

    Keys are full dotted paths (`agent.dyn.deter`), paths below a free-form mapping
    (`env.gym.kwargs.max_episode_steps`) or regular expressions that match whole paths
    (`.*\\.units`).
    """

    def __init__(self):
        self._leaves = leaves(Config)
        self._groups = groups(Config)
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
        for key, value in flatten(layer, self._groups):
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
            value = _insert(self.get(leaf.key), rest, read(None)) if rest else read(leaf)
            self._values[leaf.key] = leaf.validate(value, source, shown)
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
            task = " An environment is named with --task." if key == "env" else ""
            raise ConfigError(
                f"Ambiguous key {key} = {shown} from {source}: it is a section with the options "
                f"{', '.join(inside[:8])}{', ...' if len(inside) > 8 else ''}. Set one of them, "
                f"or give a mapping.{task}"
            )
        if _REGEX_SIGNS & set(key):
            return [(leaf, ()) for leaf in self._match(key, source, shown)]
        raise ConfigError(self._unknown(key, source, shown))

    def config(self) -> Config:
        """The configuration that results, with the sources of its values."""
        return Config.from_values(self._values, self._sources)

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


def _insert(mapping: Mapping[str, Any], path: tuple[str, ...], value: Any) -> dict[str, Any]:
    name, *rest = path
    if rest:
        inner = mapping.get(name)
        value = _insert(inner if isinstance(inner, Mapping) else {}, tuple(rest), value)
    return {**mapping, name: value}
