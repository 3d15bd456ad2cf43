"""Atari games with the settings of the 100k benchmark: small colour images, no sticky actions.

Kaiser et al., "Model-Based Reinforcement Learning for Atari" (arXiv 1903.00374).
"""

from collections.abc import Sequence

from reverie.envs.suites.atari import Actions, Atari, Lives, tasks
from reverie.envs.suites.atari_frames import Aggregate, Resize

__all__ = ["make", "tasks"]


class Atari100k(Atari):
    """`Atari` with the defaults of the benchmark."""

    suite = "atari100k"

    def __init__(
        self,
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
    ):
        super().__init__(
            name, size, repeat, sticky, gray, actions, lives, noops, autostart, pooling,
            aggregate, resize, clip_reward,
        )  # fmt: skip


make = Atari100k
