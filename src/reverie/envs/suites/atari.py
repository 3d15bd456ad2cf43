"""Atari 2600 games with the settings of the full protocol, see `Atari`."""

from collections.abc import Sequence

import gymnasium

from reverie.envs.suites.atari_frames import Aggregate, Resize
from reverie.envs.suites.atari_game import Actions, Atari, Lives, tasks

__all__ = ["Atari", "make", "tasks"]


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

    Raises:
        UnknownTaskError: There is no such game, or it needs several players.
        OptionError: An option outside its range.
    """
    return Atari(
        name, size, repeat, sticky, gray, actions, lives, noops, autostart, pooling,
        aggregate, resize, clip_reward,
    )  # fmt: skip
