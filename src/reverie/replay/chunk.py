"""Chunks: fixed runs of consecutive steps of one environment, one contiguous array per key.

Rows are only ever appended; a row that was written never changes again, except its latents (which
are refreshed after every update). Readers may therefore hold a chunk and read finished rows while
another thread appends to it. Whoever reads or writes latents, or moves rows to a file, holds the
lock of the replay.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

import ml_dtypes  # noqa: F401 (makes numpy know the name `bfloat16`)
import numpy as np

from reverie.replay.files.format import File
from reverie.replay.files.scratch import Slot
from reverie.spaces import FLAGS, Space

OFFSET_BITS = 20
"""A step's id is `serial << OFFSET_BITS | offset`, so a chunk holds at most 2**20 steps."""


class Layout:
    """Keys, dtypes and shapes of the arrays of a chunk.

    Args:
        spaces: Space of every stored key. `reward` (float32) and the flags (bool) are added when
            they are missing.
        latents: The keys among them that hold latents, in any order.

    Raises:
        ValueError: If a latent is not among the spaces or `consec` is.
    """

    def __init__(self, spaces: Mapping[str, Space], latents: Iterable[str] = ()):
        specs = {key: (np.dtype(space.dtype), tuple(space.shape)) for key, space in spaces.items()}
        if "consec" in specs:
            raise ValueError("The key 'consec' is made by replay itself; rename the space.")
        specs.setdefault("reward", (np.dtype(np.float32), ()))
        for key in FLAGS:
            specs.setdefault(key, (np.dtype(bool), ()))
        for key in latents:
            if key not in specs:
                raise ValueError(f"Latent '{key}' is not among the spaces {sorted(specs)}.")
        self.specs = dict(sorted(specs.items()))
        self.latents = tuple(sorted(latents))
        self.data = tuple(key for key in self.specs if key not in self.latents)

    def nbytes(self, rows: int = 1, keys: Iterable[str] | None = None) -> int:
        """Bytes of this many rows of some keys, by default of all."""
        specs = [self.specs[key] for key in (self.specs if keys is None else keys)]
        return rows * sum(dtype.itemsize * math.prod(shape) for dtype, shape in specs)

    @property
    def images(self) -> tuple[str, ...]:
        """Keys of the images, uint8 `[height, width, channels]`."""
        return tuple(
            key
            for key in self.data
            if self.specs[key][0] == np.uint8 and len(self.specs[key][1]) == 3
        )

    def empty(self, rows: int, keys: Iterable[str] | None = None) -> dict[str, np.ndarray]:
        """Arrays `[rows, *shape]` of some keys, by default of all, whatever they hold."""
        specs = self.specs if keys is None else {key: self.specs[key] for key in keys}
        return {key: np.empty((rows, *shape), dtype) for key, (dtype, shape) in specs.items()}


class Chunk:
    """A run of consecutive steps of one environment.

    Args:
        serial: Number of the chunk, growing in order of creation and never reused.
        stream: Index of the environment whose steps it holds.
        arrays: `[rows, *shape]` per key; `is_first` at least, where there is a file.
        previous: The chunk that this one continues, or None where a stream begins.

    Attributes:
        file: Where the steps are that are not in `arrays`.
        scratch: Where the latents are that are not in `arrays`.
        filled: Number of rows written so far.
        next: The chunk that continues this one, once it exists.
        starts: Drawable sequences that start here: at offsets `0 .. starts-1`.
        slot: Place in the `Table`; -1 when it is not in it.
        version: Counts the rewrites of latents.
    """

    def __init__(
        self,
        serial: int,
        stream: int,
        arrays: dict[str, np.ndarray],
        previous: "Chunk | None" = None,
    ):
        self.serial = serial
        self.stream = stream
        self.arrays = arrays
        self.file: File | None = None
        self.scratch: Slot | None = None
        self.rows = len(arrays["is_first"])
        self.filled = 0
        self.next: Chunk | None = None
        # Numbers instead of a reference: a chunk must not keep the evicted one before it alive.
        self.origin = (previous.serial, previous.filled) if previous else (-1, 0)
        self.slot = -1
        self.starts = 0
        self.version = 0
        if previous is not None:
            previous.next = self

    def usage(self, layout: Layout) -> tuple[int, int]:
        """Bytes in RAM and on disk."""
        if self.file is None:
            return layout.nbytes(self.filled), 0
        scratch = self.scratch.nbytes if self.scratch else 0
        return sum(array.nbytes for array in self.arrays.values()), self.file.nbytes + scratch

    @property
    def id(self) -> int:
        """Id of the first step; the step at an offset has the id `id + offset`."""
        return self.serial << OFFSET_BITS

    def read(self, start: int, count: int, targets: Mapping[str, np.ndarray], at: int = 0) -> None:
        """Copy rows out.

        Args:
            start: First row.
            count: Number of rows.
            targets: Contiguous `[n, *shape]` per wanted key.
            at: Row of the targets that takes the first one.
        """
        latents, steps = {}, {}
        for key, target in targets.items():
            part = target[at : at + count]
            if key in self.arrays:
                part[:] = self.arrays[key][start : start + count]
            elif self.scratch and key in self.scratch.starts:
                latents[key] = part
            else:
                steps[key] = part
        if latents and self.scratch:
            self.scratch.read(start, latents)
        if steps and self.file:
            self.file.read(start, steps)

    def write(self, start: int, latents: Mapping[str, np.ndarray]) -> None:
        """Put fresh latents `[n, *shape]` per key into the rows from `start` on."""
        self.version += 1
        for key, rows in latents.items():
            if self.scratch:
                self.scratch.write(start, {key: rows})
            else:
                self.arrays[key][start : start + len(rows)] = rows

    def walk(self, offset: int, length: int) -> Iterator["Piece"]:
        """The pieces of the `length` steps that start `offset` rows from here, in any later chunk.

        Raises:
            IndexError: If the stream has not that many steps yet.
        """
        chunk: Chunk | None = self
        while chunk is not None and length > 0:
            stop = min(offset + length, chunk.filled)
            if offset < stop:
                yield Piece(chunk, offset, stop)
                length -= stop - offset
            chunk, offset = chunk.next, max(0, offset - chunk.filled)
        if length > 0:
            raise IndexError(f"The stream ends {length} steps short of the sequence.")


class Piece(NamedTuple):
    """Rows `start .. stop-1` of one chunk."""

    chunk: Chunk
    start: int
    stop: int

    def follower(self) -> tuple[Chunk, int] | None:
        """Chunk and offset of the step after this piece, or None if there is none yet."""
        if self.stop < self.chunk.filled:
            return self.chunk, self.stop
        follower = self.chunk.next
        return (follower, 0) if follower is not None and follower.filled else None
