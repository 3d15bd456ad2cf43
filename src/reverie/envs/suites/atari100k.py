"""Atari games with the settings of the 100k benchmark: small colour images, no sticky actions.

Kaiser et al., "Model-Based Reinforcement Learning for Atari" (arXiv 1903.00374).
"""

import functools

from reverie.envs.suites.atari import Atari, tasks

__all__ = ["make", "tasks"]


class Atari100k(Atari):
    """`Atari` under the name of the benchmark, whose defaults `make` has."""

    suite = "atari100k"


make = functools.partial(Atari100k, size=(64, 64), sticky=False, gray=False, actions="needed")
