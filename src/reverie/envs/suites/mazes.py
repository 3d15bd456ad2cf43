"""What the suites with random 3D mazes share: seeds for the maze generator, and quiet logs."""

import logging
from typing import Any

import numpy as np


def reseed(control: Any, arena: Any, rng: np.random.Generator) -> None:
    """Makes everything that follows the next reset of a maze depend on a generator only.

    Args:
        control: The `dm_control.composer.Environment` around it, or a wrapper that forwards names.
        arena: The maze arena; its text maze is made anew, with a seed of its own.
        rng: Where the seeds are drawn from.
    """
    maze_seed, seed = (int(each) for each in rng.integers(1, 2**31 - 1, 2))
    control.random_state.seed(seed)
    old = arena._maze
    arena._maze = type(old)(
        height=old.height,
        width=old.width,
        max_rooms=old.max_rooms,
        room_min_size=old.room_min_size,
        room_max_size=old.room_max_size,
        max_variations=old.max_variations,
        spawns_per_room=old.spawns_per_room,
        objects_per_room=old.objects_per_room,
        random_seed=maze_seed,
    )


NOISE = ("Cannot set velocity on Entity", "Failed to converge after")
"""What dm_control says about walkers and arms at the start of nearly every episode."""


def quiet() -> None:
    """Keeps dm_control from warnings that nobody can do anything about."""
    log = logging.getLogger("absl")
    if _wanted not in log.filters:
        log.addFilter(_wanted)


def _wanted(record: logging.LogRecord) -> bool:
    return not str(record.msg).startswith(NOISE)
