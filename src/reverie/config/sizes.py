"""Model sizes: the options that they set, where neither the user nor another block has."""

import functools
import re
from collections.abc import Iterable, Mapping
from typing import Any

from reverie.config.blocks import presets
from reverie.config.keys import leaves
from reverie.config.schema import Config


@functools.cache
def sizes() -> dict[str, dict[str, Any]]:
    """The blocks `size1m`, ... in ascending order: name -> option -> value."""
    named = {name: block for name, block in presets().items() if re.fullmatch(r"size\d+m", name)}
    return {name: dict(_options(block)) for name, block in named.items()}


def unset(config: Config, keys: Iterable[str]) -> list[str]:
    """Those of some options that nothing has set, so that they have their defaults."""
    return [key for key in keys if key not in config.sources]


def with_values(config: Config, values: Mapping[str, Any], source: str) -> Config:
    """The configuration with other values of some options.

    Args:
        config: A checked configuration.
        values: Dotted key -> value.
        source: Where they come from, for messages.
    """
    if not values:
        return config
    tree = config.model_dump()
    for key, value in values.items():
        *parents, name = key.split(".")
        functools.reduce(lambda node, part: node[part], parents, tree)[name] = value
    return Config.with_sources(tree, {**config.sources, **dict.fromkeys(values, source)})


def _options(block: Mapping[str, Any]) -> Iterable[tuple[str, Any]]:
    for pattern, value in block.items():
        for key in leaves(Config):
            if re.fullmatch(pattern, key):
                yield key, value
