"""Fresh latents and priorities on their way back into the chunks they belong to."""

import dataclasses
import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np

from reverie.replay.chunk import Chunk, Layout
from reverie.replay.rows import Table


@dataclasses.dataclass(frozen=True)
class Target:
    """Rows of live chunks that take fresh latents or priorities.

    Attributes:
        runs: Tuples (chunk, offset, sequence, begin, end): entries `begin .. end-1` along time of
            that sequence of the batch go to the chunk's rows from `offset` on.
        shape: (B, T) of the ids that it was made from.
        missed: Number of steps that were evicted.
    """

    runs: tuple[tuple[Chunk, int, int, int, int], ...]
    shape: tuple[int, int]
    missed: int


def locate(table: Table, ids: np.ndarray) -> Target:
    """Find the rows of steps in a table, see `Replay.locate`.

    Raises:
        ValueError: If the ids are not of rank 2.
    """
    ids = np.asarray(ids, np.int64)
    if ids.ndim != 2:
        raise ValueError(f"ids have shape {ids.shape}, expected [B, T].")
    runs, missed = [], 0
    for sequence, line in enumerate(ids):
        # Ids count up within a chunk and jump between chunks.
        borders = [0, *(np.flatnonzero(np.diff(line) != 1) + 1).tolist(), len(line)]
        for begin, end in itertools.pairwise(borders):
            found = table.find(int(line[begin])) if end > begin else None
            if found is None:
                missed += end - begin
            else:
                runs.append((*found, sequence, begin, end))
    return Target(tuple(runs), ids.shape, missed)


def check_latents(
    latents: Mapping[str, Any], target: Target, layout: Layout
) -> dict[str, np.ndarray]:
    """The latents as arrays `[B, T, *shape]`, see `Replay.write`."""
    arrays = {key: np.asarray(value) for key, value in latents.items()}
    for key, array in arrays.items():
        if key not in layout.latents:
            raise KeyError(f"'{key}' is not a latent of this replay: it has {layout.latents}.")
        dtype, shape = layout.specs[key]
        if array.shape != target.shape + shape:
            raise ValueError(
                f"Latent '{key}' has shape {array.shape}, expected {target.shape + shape}."
            )
        if array.dtype != dtype:
            raise TypeError(f"Latent '{key}' has dtype {array.dtype}, replay stores {dtype}.")
    return arrays


def check_priority(priority: Any, target: Target) -> np.ndarray:
    """The priorities as float32 `[B, T]`, see `Replay.prioritize`."""
    values = np.asarray(priority, np.float32)
    if values.shape != target.shape:
        raise ValueError(f"priority has shape {values.shape}, expected {target.shape}.")
    if not (values >= 0).all():
        raise ValueError(f"A priority must be >= 0 and not NaN, got {values.min()}.")
    return values
