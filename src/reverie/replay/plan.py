"""Plans: which rows a batch consists of, decided at once, copied later.

A plan is made in the thread that adds steps and holds references to the chunks, so that neither
later steps nor evictions change what it stands for; the copying may then run in another thread.
"""

import dataclasses
from collections.abc import Iterable

import numpy as np

from reverie.replay.chunk import Chunk, Layout, Piece


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

    @property
    def starts(self) -> list[int]:
        """Ids of the first step of each sequence."""
        return [pieces[0].chunk.id + pieces[0].start for pieces in self.pieces]


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
    plan: Plan,
    layout: Layout,
    context: int,
    start: int,
    stop: int | None,
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """The batch and the ids of the steps `start .. stop-1`, see `Replay.gather`.

    Raises:
        ValueError: If the steps are not within the sequences.
    """
    stop = plan.length if stop is None else stop
    if not 0 <= start < stop <= plan.length:
        raise ValueError(f"Steps {start} .. {stop - 1} are not within 0 .. {plan.length - 1}.")
    size, length, context = len(plan), stop - start, min(context, stop - start)
    spans = _spans(plan, start, stop)
    batch = _copy(spans, layout, layout.data, (size, length))
    _mark(batch, plan, start, stop)
    if context:
        spans_context = _spans(plan, start, start + context)
        batch |= _copy(spans_context, layout, layout.latents, (size, context))
    ids = [np.arange(chunk.id + start, chunk.id + stop) for chunk, start, stop in spans]
    return batch, np.concatenate(ids).reshape(size, length)


def _spans(plan: Plan, start: int, stop: int) -> list[Piece]:
    """The rows of the steps `start .. stop-1` of all sequences, one sequence after the other."""
    spans = []
    for sequence in plan.pieces:
        time = 0  # Of the piece's first row.
        for chunk, first, last in sequence:
            begin, end = first + max(0, start - time), min(last, first + stop - time)
            if begin < end:
                spans.append(Piece(chunk, begin, end))
            time += last - first
    return spans


def _copy(
    spans: list[Piece], layout: Layout, keys: Iterable[str], shape: tuple[int, int]
) -> dict[str, np.ndarray]:
    """The rows of all spans per key, as arrays `[B, T, ...]` of this shape `(B, T)`."""
    targets, at = layout.empty(shape[0] * shape[1], keys), 0
    for chunk, start, stop in spans:
        chunk.read(start, stop - start, targets, at)
        at += stop - start
    return {key: rows.reshape(*shape, *rows.shape[1:]) for key, rows in targets.items()}


def _mark(batch: dict[str, np.ndarray], plan: Plan, start: int, stop: int) -> None:
    """Close abandoned episodes, and make the first step of the sequence begin one."""
    first, last = batch["is_first"], batch["is_last"]
    last[:, :-1] |= first[:, 1:]
    if stop == plan.length:
        last[:, -1] |= plan.abandoned
    else:
        after = _spans(plan, stop, stop + 1)
        last[:, -1] |= [bool(chunk.arrays["is_first"][row]) for chunk, row, _ in after]
    if start == 0:
        first[:, 0] = True
