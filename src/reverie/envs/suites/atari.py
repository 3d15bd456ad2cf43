"""Atari 2600 games with the settings of the full protocol, see `Atari`."""

from collections.abc import Sequence
from typing import Any

import gymnasium

from reverie.envs.batched import BatchedVectorEnv
from reverie.envs.suites.atari_frames import Aggregate, Resize
from reverie.envs.suites.atari_game import Actions, Atari, Lives, tasks
from reverie.envs.suites.atari_native import Backend, check_backend, native_games

__all__ = ["Atari", "make", "make_vec", "tasks"]


def make(
    name: str,
    size: Sequence[int] = (96, 96),
    repeat: int = 4,
    sticky: bool = True,
    gray: bool = True,
    actions: Actions = "all",
    lives: Lives = "unused",
    noops: int = 30,
    autostart: bool = False,
    pooling: int = 2,
    aggregate: Aggregate = "max",
    resize: Resize = "bilinear",
    clip_reward: bool = False,
    backend: Backend = "process",
) -> gymnasium.Env:
    """Builds a game with the settings of the full protocol; the options are those of `Atari`.

    Args:
        name: Such as `pong`; underscores may be added or left out, as in `james_bond`.
        size: Height and width of the images.
        repeat: Frames per step.
        sticky: Keep the previous action with probability 0.25.
        gray: Gray images in place of colours.
        actions: `all` or `needed`.
        lives: `unused`, `discount` or `reset`.
        noops: Largest number of no-ops at the start.
        autostart: Press fire at the start.
        pooling: How many of the last frames make an image.
        aggregate: `max` or `mean`.
        resize: `bilinear` or `area`.
        clip_reward: Replace rewards by their sign.
        backend: What parallel environments are made of: `process` is one emulator for each,
            `native` the vector environment of ALE, which some settings do not fit.

    Raises:
        UnknownTaskError: There is no such game, or it needs several players.
        ValueError: An option outside its range, or one that `native` cannot do.
    """
    env = Atari(
        name, size, repeat, sticky, gray, actions, lives, noops, autostart, pooling,
        aggregate, resize, clip_reward,
    )  # fmt: skip
    check_backend(backend, "atari", env.screen, size, repeat, pooling, aggregate, resize)
    return env


def make_vec(
    name: str, num_envs: int, seeds: Sequence[int], **options: Any
) -> BatchedVectorEnv | None:
    """The vector environment of ALE where `backend` is `native`; options are those of `make`."""
    return native_games("atari", name, num_envs, seeds, **options)
