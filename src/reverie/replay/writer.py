"""The writing side of replay: an open chunk per environment, and the sequences that get complete.

All environments step together, so their open chunks fill and turn over together, and the
bookkeeping of offsets is shared by all of them.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from reverie.replay.chunk import Chunk, Layout
from reverie.replay.rows import Table
from reverie.spaces import LOG_PREFIX


def check(transition: Mapping[str, np.ndarray], layout: Layout) -> dict[str, np.ndarray]:
    """The stored keys of a transition in the order of the layout; `log/` keys are dropped.

    Args:
        transition: `[N, *shape]` per key.
        layout: The expected keys, dtypes and shapes.

    Raises:
        KeyError: If a key is missing or unknown.
        ValueError: If shapes do not fit.
        TypeError: If a dtype differs.
    """
    extra = [k for k in transition if k not in layout.specs and not k.startswith(LOG_PREFIX)]
    missing = [k for k in layout.specs if k not in transition]
    if extra or missing:
        raise KeyError(
            f"A transition must have the keys {sorted(layout.specs)}: "
            f"{missing} missing, {sorted(extra)} unknown."
        )
    columns = {key: np.asarray(transition[key]) for key in layout.specs}
    count = columns["is_first"].shape[:1]
    for key, (dtype, shape) in layout.specs.items():
        if columns[key].dtype != dtype:
            raise TypeError(
                f"Transition key '{key}' has dtype {columns[key].dtype}, replay stores {dtype}: "
                f"convert it before adding."
            )
        if not count or columns[key].shape != count + shape:
            raise ValueError(
                f"Transition key '{key}' has shape {columns[key].shape}, expected {count + shape}: "
                f"the number of environments, then the shape of the space."
            )
    return columns


def chunk_rows(chunksize: int, capacity: int, length: int, streams: int) -> int:
    """Rows per chunk: `chunksize`, or less where that many would evict in too coarse pieces.

    A quarter of what a stream can hold beyond one sequence keeps every stream drawable and leaves
    the oldest chunk a finished one at any time.

    Raises:
        ValueError: If the capacity cannot hold one sequence of every stream with a step to spare.
    """
    share = capacity // streams
    if share <= length:
        raise ValueError(
            f"A replay capacity of {capacity} steps is too small for {streams} environments: each "
            f"needs room for a sequence of {length} steps, so at least {streams * (length + 1)} "
            f"in all. Raise replay.size, or lower run.envs or batch_length."
        )
    return max(1, min(chunksize, (share - length) // 4))


@dataclasses.dataclass
class Writer:
    """Appends steps to N streams and reports the sequences that become complete.

    Args:
        streams: Number of environments N.
        length: Steps of a sequence.
        create: Makes the next chunk of a stream: `create(stream, previous)`.
    """

    streams: int
    length: int
    create: Callable[[int, Chunk | None], Chunk]

    def __post_init__(self):
        self._written = 0
        self._open: list[Chunk] = []
        self._offset = 0
        self._tails: list[Chunk] = []
        self._tail_offset = 0
        self._targets: list[list[np.ndarray]] = []

    def append(self, columns: dict[str, np.ndarray]) -> bool:
        """Write one step of every stream; returns whether each stream has a new sequence.

        Args:
            columns: `[N, *shape]` per key, in the order of the layout.

        Raises:
            ValueError: If that is not N.
        """
        count = len(next(iter(columns.values())))
        if count != self.streams:
            raise ValueError(
                f"A transition of {count} environments was added to a replay of {self.streams}: "
                "make one replay per set of environments."
            )
        if not self._open or self._offset == self._open[0].rows:
            self._turn_over()
        at = self._offset
        for targets, column in zip(self._targets, columns.values(), strict=True):
            for target, value in zip(targets, column, strict=True):
                target[at] = value
        # Only now do the rows count: a reader never sees a half-written step.
        self._offset += 1
        for chunk in self._open:
            chunk.filled = self._offset
        self._written += 1
        return self._written >= self.length

    def state(self) -> dict[str, Any]:
        """Where it has got to, as values that JSON can hold."""
        return {
            "streams": self.streams,
            "written": self._written,
            "offset": self._offset,
            "tail_offset": self._tail_offset,
            "rows": self._open[0].rows if self._open else 0,
            "open": [chunk.serial for chunk in self._open],
            "tails": [chunk.serial for chunk in self._tails],
        }

    def restore(self, state: Mapping[str, Any], table: Table) -> None:
        """Go on where another one was.

        Args:
            state: From `state`.
            table: The chunks.

        Raises:
            KeyError: If one of its chunks is not there.
        """
        self._written, self._offset = state["written"], state["offset"]
        self._tail_offset = state["tail_offset"]
        self._open, self._tails = (
            [_live(table, serial) for serial in state[name]] for name in ("open", "tails")
        )
        self._aim()

    @property
    def newest(self) -> tuple[list[Chunk], int]:
        """Chunk per stream and offset of the steps that were appended last."""
        return self._open, self._offset - 1

    def complete(self) -> tuple[list[Chunk], int, bool]:
        """Where the newest sequence of each stream starts.

        Call it once after each `append` that returned True.

        Returns:
            The chunk per stream, the offset, and whether the sequence is fresh: it shares no step
            with the fresh one before it.
        """
        if not self._tails:
            raise RuntimeError("No sequence is complete yet.")
        if self._tail_offset == self._tails[0].rows:
            self._tails = [_follower(chunk) for chunk in self._tails]
            self._tail_offset = 0
        offset = self._tail_offset
        self._tail_offset += 1
        return self._tails, offset, (self._written - self.length) % self.length == 0

    def _turn_over(self) -> None:
        before = self._open or [None] * self.streams
        self._open = [self.create(i, chunk) for i, chunk in enumerate(before)]
        self._offset = 0
        self._tails = self._tails or list(self._open)
        self._aim()

    def _aim(self) -> None:
        keys = self._open[0].arrays if self._open else ()
        self._targets = [[chunk.arrays[key] for chunk in self._open] for key in keys]


def _follower(chunk: Chunk) -> Chunk:
    if chunk.next is None:
        raise RuntimeError(f"Chunk {chunk.serial} of stream {chunk.stream} has no follower.")
    return chunk.next


def _live(table: Table, serial: int) -> Chunk:
    chunk = table.get(serial)
    if chunk is None:
        raise KeyError(f"Chunk {serial} is not there.")
    return chunk
