"""DreamerV3 in JAX: trains a world-model agent on any environment.

import reverie

outcome = reverie.train("CartPole-v1", configs="quickstart")
agent = reverie.load(outcome.logdir)
"""

import os

if os.name != "posix":
    raise ImportError("Reverie runs on Linux and macOS, and in WSL on Windows.")

from reverie.api import check, load, make, train
from reverie.clocks import Every

__all__ = ["Every", "__version__", "check", "load", "make", "train"]

__version__ = "0.1.0"
