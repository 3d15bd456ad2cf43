"""Configuration: documented and bounded options, presets, flags and the checks between them.

The names here are for users; `as` tells type checkers that they are.
"""

from reverie.config.load import load as load
from reverie.config.load import load_run as load_run
from reverie.config.presets import presets as presets
from reverie.config.presets import sizes as sizes
from reverie.config.printing import describe as describe
from reverie.config.schema import Config as Config
from reverie.errors import ConfigError as ConfigError
