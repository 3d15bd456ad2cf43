"""The named blocks of the package."""

import importlib.resources
from typing import Any

from reverie.config import yaml_text
from reverie.config.errors import ConfigError


def presets() -> dict[str, dict[str, Any]]:
    """The named blocks of the package: name -> options, which may use regular-expression keys.

    `defaults` exists and is empty: the defaults are those of the schema, and nothing else.
    """
    resource = importlib.resources.files(__package__ or "").joinpath("presets.yaml")
    blocks = yaml_text.parse(resource.read_text(encoding="utf-8"))
    if blocks.get("defaults") != {}:
        raise ConfigError(
            "presets.yaml: the block defaults must stay empty, because the schema holds the "
            "defaults; change them there."
        )
    return blocks
