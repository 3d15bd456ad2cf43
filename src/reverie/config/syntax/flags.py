"""Command-line flags: tokens to keys, and their text to values of the option's type."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from reverie.config.syntax import yaml_text
from reverie.config.syntax.keys import Leaf
from reverie.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class Flag:
    """One flag as it was written.

    Attributes:
        key: What follows the two dashes.
        tokens: The words that follow, up to the next flag.
    """

    key: str
    tokens: tuple[str, ...]

    @property
    def shown(self) -> str:
        """The value as it was written."""
        return repr(" ".join(self.tokens)) if self.tokens else "(no value)"

    def read(self, leaf: Leaf | None) -> Any:
        """The value in the form that an option takes; None reads it as YAML.

        The result is not validated yet: text that does not read as the type is returned as it is.
        """
        if leaf is None and not self.tokens:
            return True  # As for options that are true or false.
        if leaf is None or leaf.kind is dict:
            values = [_scalar(token) for token in self.tokens]
            return values[0] if len(values) == 1 else values
        if leaf.kind is tuple:
            return self._read_list(leaf)
        if leaf.kind is bool and not self.tokens:
            return True
        if len(self.tokens) != 1:
            raise ConfigError(
                f"Flag --{self.key} {' '.join(self.tokens)}".rstrip()
                + f": expected one value, {leaf.expects}, got {len(self.tokens)}."
            )
        return self.tokens[0] if leaf.kind is str else _scalar(self.tokens[0])

    def _read_list(self, leaf: Leaf) -> Any:
        if not self.tokens:
            raise ConfigError(f"Flag --{self.key}: expected {leaf.expects}, got no value.")
        if self.tokens[0].startswith("["):
            return _scalar(" ".join(self.tokens))
        items = [item.strip() for token in self.tokens for item in token.split(",") if item.strip()]
        return items if leaf.item is str else [_scalar(item) for item in items]


def split(argv: Sequence[str]) -> tuple[list[str], list[Flag]]:
    """Split command-line words into the blocks of `--configs` and the other flags.

    Args:
        argv: Words such as `--configs crafter size12m --run.envs=4 --env.dmc.size 64 64`. A value
            that starts with two dashes is written as `--key=--value`.

    Returns:
        Block names and yaml files in order, and the other flags in order.

    Raises:
        ConfigError: A word stands before the first flag, or `--configs` names nothing.
    """
    blocks: list[str] = []
    flags: list[Flag] = []
    position = 0
    while position < len(argv):
        word = argv[position]
        if not word.startswith("--") or word == "--":
            raise ConfigError(
                f"Unexpected argument {word!r} on the command line: expected flags such as "
                f"`--configs crafter size12m`, `--task gym_CartPole-v1` or `--logdir FOLDER`."
            )
        key, equals, first = word[2:].partition("=")
        position += 1
        tokens = [first] if equals else []
        while not equals and position < len(argv) and not argv[position].startswith("--"):
            tokens.append(argv[position])
            position += 1
        if key == "configs":
            names = [name.strip() for token in tokens for name in token.split(",")]
            if not any(names):
                raise ConfigError(
                    "Flag --configs: expected names of blocks or yaml files, got no value."
                )
            blocks += filter(None, names)
        else:
            flags.append(Flag(key, tuple(tokens)))
    return blocks, flags


def _scalar(token: str) -> Any:
    try:
        return yaml_text.parse(token)
    except ConfigError:
        # Words that are no YAML are plain text; validation says so where text does not fit.
        return token
