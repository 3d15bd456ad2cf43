"""The named blocks of the package, and the sizes of the model among them."""

import functools
import importlib.resources
import re
from collections.abc import Mapping
from typing import Any

from reverie.config.overlay import Overlay
from reverie.config.syntax import yaml_text


@functools.cache
def presets() -> Mapping[str, Mapping[str, Any]]:
    """The named blocks of the package: name -> options, which may use regular-expression keys.

    `defaults` exists and is empty: the defaults are those of the schema, and nothing else.
    """
    resource = importlib.resources.files(__package__ or "").joinpath("presets.yaml")
    return yaml_text.parse(resource.read_text(encoding="utf-8"))


@functools.cache
def sizes() -> dict[str, dict[str, Any]]:
    """The blocks `size1m`, ... in ascending order: name -> option -> value."""
    return {name: options_of(name) for name in presets() if re.fullmatch(r"size\d+m", name)}


def options_of(name: str) -> dict[str, Any]:
    """Every option that a block sets -> value."""
    overlay = Overlay()
    overlay.update(presets()[name], f"block {name}")
    return {key: overlay.get(key) for key in overlay.sources}
