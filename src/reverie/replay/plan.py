"""Plans: which rows a batch consists of, decided at once, copied later.

A plan is made in the thread that adds steps and holds references to the chunks, so that neither
later steps nor evictions change what it stands for; the copying may then run in another thread.
"""

import dataclasses
from collections.abc import Iterator

import numpy as np

from reverie.replay.storage import Chunk, Layout, Piece


@dataclasses.dataclass(frozen=True)
class Plan:
    """Sequences that were drawn together.

    Attributes:
        length: Steps of each sequence.
        pieces: For each of the B sequences the runs of rows that it consists of, in order.
        online: bool `[B]`, the sequences that came from the online queue.
        abandoned: bool `[B]`, whether the step after the sequence began a new episode.
    """

    length: int
    pieces: tuple[tuple[Piece, ...], ...]
    online: np.ndarray
    abandoned: np.ndarray

    def __len__(self) -> int:
        return len(self.pieces)


def make_plan(starts: list[tuple[Chunk, int]], length: int, online: int) -> Plan:
    """Resolve where sequences start into the rows that they consist of.

    Args:
        starts: Chunk and offset of the first step of each sequence.
        length: Steps of each sequence.
        online: How many of them, at the front, came from the online queue.
    """
    pieces = tuple(tuple(chunk.walk(offset, length)) for chunk, offset in starts)
    followers = [sequence[-1].follower() for sequence in pieces]
    abandoned = [bool(at and at[0].arrays["is_first"][at[1]]) for at in followers]
    return Plan(length, pieces, np.arange(len(pieces)) < online, np.array(abandoned, bool))


def gather(
    plan: Plan, layout: Layout, context: int, start: int = 0, stop: int | None = None
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Copy the steps `start .. stop-1` of every planned sequence out of their chunks.

    Args:
        plan: The sequences.
        layout: Keys, dtypes and shapes.
        context: Number of leading steps whose latents are copied; with 0 there are no latent keys.
        start: First step.
        stop: Step after the last one; the whole sequence by default.

    Returns:
        The batch, `[B, stop-start, *shape]` per key and `[B, context, *shape]` per latent, and the
        ids of its steps, int64 `[B, stop-start]`.

    Raises:
        ValueError: If the steps are not within the sequences.
    """
    stop = plan.length if stop is None else stop
    if not 0 <= start < stop <= plan.length:
        raise ValueError(f"Steps {start} .. {stop - 1} are not within 0 .. {plan.length - 1}.")
    size, length, context = len(plan), stop - start, min(context, stop - start)
    data = {key: _rows(layout, key, size * length) for key in layout.data}
    latents = {key: _rows(layout, key, size * context) for key in layout.latents if context}
    ids = np.empty(size * length, np.int64)
    count = np.arange(length)
    for chunk, offset, sequence, begin, end in _runs(plan, start, stop):
        at = sequence * length + begin
        chunk.read(offset, end - begin, data, at)
        ids[at : at + end - begin] = count[: end - begin] + (chunk.id + offset)
        if begin < context:
            chunk.read(offset, min(end, context) - begin, latents, sequence * context + begin)
    batch = {key: rows.reshape(size, length, *rows.shape[1:]) for key, rows in data.items()}
    _mark(batch, plan, start, stop)
    batch |= {key: rows.reshape(size, context, *rows.shape[1:]) for key, rows in latents.items()}
    return batch, ids.reshape(size, length)


def _mark(batch: dict[str, np.ndarray], plan: Plan, start: int, stop: int) -> None:
    """Close abandoned episodes, and make the first step of the sequence begin one."""
    first, last = batch["is_first"], batch["is_last"]
    last[:, :-1] |= first[:, 1:]
    if stop == plan.length:
        last[:, -1] |= plan.abandoned
    else:
        for chunk, offset, sequence, _, _ in _runs(plan, stop, stop + 1):
            last[sequence, -1] |= chunk.arrays["is_first"][offset]
    if start == 0:
        first[:, 0] = True


def _runs(plan: Plan, start: int, stop: int) -> Iterator[tuple[Chunk, int, int, int, int]]:
    """Tuples (chunk, offset, sequence, begin, end) that cover the steps, counted from start."""
    for sequence, pieces in enumerate(plan.pieces):
        time = 0
        for piece in pieces:
            length = piece.stop - piece.start
            begin, end = max(start, time), min(stop, time + length)
            if begin < end:
                yield piece.chunk, piece.start + begin - time, sequence, begin - start, end - start
            time += length


def _rows(layout: Layout, key: str, count: int) -> np.ndarray:
    dtype, shape = layout.specs[key]
    return np.empty((count, *shape), dtype)
