"""Atari games with the settings of the 100k benchmark: small colour images, no sticky actions.

Kaiser et al., "Model-Based Reinforcement Learning for Atari" (arXiv 1903.00374).
"""

from reverie.config.sections.env import Atari100kConfig
from reverie.envs.suites.atari.env import Atari, tasks

__all__ = ["make", "tasks"]


class Atari100k(Atari):
    """`Atari` under the name of the benchmark, with its defaults."""

    suite, options = "atari100k", Atari100kConfig


make = Atari100k
