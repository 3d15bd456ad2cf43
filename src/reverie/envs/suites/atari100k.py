"""Atari games with the settings of the 100k benchmark: small colour images, no sticky actions.

Kaiser et al., "Model-Based Reinforcement Learning for Atari" (arXiv 1903.00374).
"""

from collections.abc import Sequence

import gymnasium

from reverie.envs.suites.atari_frames import Aggregate, Resize
from reverie.envs.suites.atari_game import Actions, Atari, Lives, tasks

__all__ = ["make", "tasks"]


def make(
    name: str,
    size: Sequence[int] = (64, 64),
    repeat: int = 4,
    sticky: bool = False,
    gray: bool = False,
    actions: Actions = "needed",
    lives: Lives = "unused",
    noops: int = 30,
    autostart: bool = False,
    pooling: int = 2,
    aggregate: Aggregate = "max",
    resize: Resize = "bilinear",
    clip_reward: bool = False,
) -> gymnasium.Env:
    """Builds a game; names, options and errors are those of `reverie.envs.suites.atari.make`."""
    return Atari(
        name, size, repeat, sticky, gray, actions, lives, noops, autostart,
        pooling, aggregate, resize, clip_reward, suite="atari100k",
    )  # fmt: skip
