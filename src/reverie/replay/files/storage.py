"""Where chunks live: in memory, or on disk with a bound on the memory that replay takes.

In memory are then the chunks that are being filled or wait to be written (half of the bound), the
latents of as many finished chunks as fit into the other half, and one byte per step. The steps of
finished chunks are read from the files that `archive` writes. Latents without room in memory are in
a scratch file that has no name, so that the system frees it however the process ends: they are
rewritten after every update, while their durable copies are written only when the run is saved.
"""

import collections
import os
import tempfile
import weakref
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from reverie.replay.chunk import OFFSET_BITS, Chunk, Layout
from reverie.replay.files import record
from reverie.replay.files.chunk_file import ChunkFile, read_fully, write_fully


class Scratch:
    """Places for latents in a file without a name.

    Args:
        folder: Where the space is taken from.
    """

    def __init__(self, folder: Path):
        self._folder = folder
        self._handle: int | None = None
        self._end = 0
        self._free: dict[int, collections.deque[int]] = collections.defaultdict(collections.deque)

    def place(self, latents: Mapping[str, np.ndarray]) -> "Slot":
        """Store latents `[rows, *shape]` per key; the place is free again when the slot is gone."""
        if self._handle is None:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._handle = _nameless(self._folder)
            weakref.finalize(self, os.close, self._handle)
        size = sum(array.nbytes for array in latents.values())
        free = self._free[size]
        start = free.popleft() if free else self._end
        self._end = max(self._end, start + size)
        slot = Slot(self, self._handle, start, latents)
        weakref.finalize(slot, free.append, start)
        return slot


class Slot:
    """Latents of one chunk in a scratch file."""

    def __init__(self, scratch: Scratch, handle: int, start: int, latents: Mapping):
        self._scratch = scratch  # Keeps the file open.
        self._handle = handle
        self.keys = frozenset(latents)
        self._starts: dict[str, int] = {}
        self.nbytes = 0
        for key, array in latents.items():
            self._starts[key] = start + self.nbytes
            self.nbytes += array.nbytes
        self.write(0, latents)

    def read(self, start: int, targets: Mapping[str, np.ndarray]) -> None:
        """As `Backing.read`."""
        for key, target in targets.items():
            if not read_fully(self._handle, target, self._position(key, start, target)):
                raise record.DamagedFile("The scratch file of latents is cut off.")

    def write(self, start: int, latents: Mapping[str, np.ndarray]) -> None:
        """As `Backing.write`."""
        for key, rows in latents.items():
            write_fully(self._handle, rows, self._position(key, start, rows))

    def _position(self, key: str, start: int, rows: np.ndarray) -> int:
        return self._starts[key] + start * (rows.nbytes // max(1, len(rows)))


class OnDisk:
    """Backing of a finished chunk: its file, and a slot unless its latents are in memory."""

    def __init__(self, file: ChunkFile, slot: Slot | None):
        self._file = file
        self._slot = slot
        self.detach = file.detach

    @property
    def nbytes(self) -> int:
        """Bytes of both files."""
        return self._file.nbytes + (self._slot.nbytes if self._slot else 0)

    def read(self, start: int, targets: Mapping[str, np.ndarray]) -> None:
        """As `Backing.read`."""
        latents = self._slot.keys & targets.keys() if self._slot else set()
        data = {key: target for key, target in targets.items() if key not in latents}
        if data:
            self._file.read(start, data)
        if self._slot and latents:
            self._slot.read(start, {key: targets[key] for key in latents})

    def write(self, start: int, latents: Mapping[str, np.ndarray]) -> None:
        """As `Backing.write`."""
        if self._slot:
            self._slot.write(start, latents)


class DiskStorage:
    """Keeps finished chunks in their files.

    Args:
        layout: Keys of the chunks.
        folder: Where replay is saved, and the only folder that it can be saved to.
        ram: Bytes of memory that it may take.
        latents: Those of them for latents of finished chunks; half by default.
        compress: Whether images are compressed in the files.
    """

    def __init__(
        self,
        layout: Layout,
        folder: Path | str,
        ram: int,
        latents: int | None = None,
        compress: bool = False,
    ):
        self.layout = layout
        self.compressed = layout.images if compress else ()
        self.folder = Path(folder).expanduser().resolve()
        self.pending = ram // 4
        self._open = ram // 4
        self._room = ram // 2 if latents is None else latents
        self._scratch = Scratch(self.folder)

    def most_rows(self, streams: int) -> int:
        """Rows with which a quarter of the memory holds an open chunk of every stream."""
        rows = self._open // (streams * self.layout.step_nbytes)
        return min(1 << OFFSET_BITS, max(1, rows))

    def allocate(self, rows: int) -> dict[str, np.ndarray]:
        """Arrays of their own."""
        return self.layout.empty(rows)

    def land(self, chunk: Chunk, path: Path) -> None:
        """Let go of everything that the file holds.

        Raises:
            OSError: If the disk refuses the latents.
        """
        file = ChunkFile(path, record.read_header(path))
        keys = ("is_first", *self.layout.latents)
        arrays = {key: chunk.arrays[key][: chunk.rows].copy() for key in keys}
        # First the way to the file, then the arrays: readers look at these first.
        chunk.backing = OnDisk(file, self._settle(arrays))
        chunk.arrays = arrays

    def release(self, chunk: Chunk) -> None:
        """Make room for the latents of another chunk."""
        if chunk.backing is not None:
            self._room += sum(chunk.arrays[k].nbytes for k in self._latents_of(chunk.arrays))

    def usage(self, chunk: Chunk) -> tuple[int, int]:
        """Bytes in RAM and on disk."""
        if chunk.backing is None:
            return self.layout.nbytes(chunk.filled), 0
        return sum(array.nbytes for array in chunk.arrays.values()), chunk.backing.nbytes

    def _settle(self, arrays: dict[str, np.ndarray]) -> Slot | None:
        """Leave latents in the arrays while there is room, else move them to a slot."""
        keys = self._latents_of(arrays)
        size = sum(arrays[key].nbytes for key in keys)
        if size <= self._room:
            self._room -= size
            return None
        return self._scratch.place({key: arrays.pop(key) for key in keys})

    def _latents_of(self, arrays: Mapping[str, np.ndarray]) -> list[str]:
        return [key for key in self.layout.latents if key in arrays]


class RamStorage:
    """Chunks in ordinary memory.

    Args:
        layout: Keys of the chunks.
        compress: Whether images are compressed when they are saved.
    """

    folder = None
    pending = 1 << 30

    def __init__(self, layout: Layout, compress: bool = False):
        self.layout = layout
        self.compressed = layout.images if compress else ()

    def most_rows(self, streams: int) -> int:
        """Any number."""
        return 1 << OFFSET_BITS

    def allocate(self, rows: int) -> dict[str, np.ndarray]:
        """Arrays of their own."""
        return self.layout.empty(rows)

    def land(self, chunk: Chunk, path: Path) -> None:
        """The chunk stays where it is."""

    def release(self, chunk: Chunk) -> None:
        """Nothing to do: its memory is free when nothing refers to the arrays any more."""

    def usage(self, chunk: Chunk) -> tuple[int, int]:
        """Bytes in RAM and on disk."""
        return self.layout.nbytes(chunk.filled), 0


Storage = RamStorage | DiskStorage
"""Where the memory of chunks comes from."""


def _nameless(folder: Path) -> int:
    handle, name = tempfile.mkstemp(dir=folder, prefix="scratch-")
    os.unlink(name)
    return handle
