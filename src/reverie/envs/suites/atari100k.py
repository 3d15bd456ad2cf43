"""Atari games with the settings of the 100k benchmark: small colour images, no sticky actions.

Kaiser et al., "Model-Based Reinforcement Learning for Atari" (arXiv 1903.00374).
"""

from collections.abc import Sequence
from typing import Any

import gymnasium

from reverie.envs.batched import BatchedVectorEnv
from reverie.envs.suites.atari_frames import Aggregate, Resize
from reverie.envs.suites.atari_game import Actions, Atari, Lives, tasks
from reverie.envs.suites.atari_native import Backend, check_backend, native_games

__all__ = ["make", "make_vec", "tasks"]


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
    backend: Backend = "process",
) -> gymnasium.Env:
    """Builds a game; names, options and errors are those of `reverie.envs.suites.atari.make`."""
    env = Atari(
        name, size, repeat, sticky, gray, actions, lives, noops, autostart,
        pooling, aggregate, resize, clip_reward, suite="atari100k",
    )  # fmt: skip
    check_backend(backend, "atari100k", env.screen, size, repeat, pooling, aggregate, resize)
    return env


def make_vec(
    name: str, num_envs: int, seeds: Sequence[int], **options: Any
) -> BatchedVectorEnv | None:
    """The vector environment of ALE where `backend` is `native`; options are those of `make`."""
    return native_games("atari100k", name, num_envs, seeds, **options)
