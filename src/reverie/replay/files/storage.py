"""Where chunks live: in memory, or on disk with a bound on the memory that replay takes.

In memory are then the chunks that are being filled or wait to be written (half of the bound), the
latents of as many finished chunks as fit into the other half, and one byte per step. The steps of
finished chunks are read from the files that `archive` writes, and latents without room in memory
from a scratch file.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from reverie.replay.chunk import Chunk, Layout
from reverie.replay.files.format import File
from reverie.replay.files.scratch import Scratch


class DiskStorage:
    """Keeps finished chunks in their files.

    Args:
        layout: Keys of the chunks.
        folder: Where replay is saved, and the only folder that it can be saved to.
        ram: Bytes of memory that it may take.
        latents: Those of them for latents of finished chunks; half by default.
        compress: Whether images are compressed in the files.

    Attributes:
        growing: Bytes of memory for the chunks that are being filled.
        waiting: Those for the chunks that wait to be written.
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
        self.growing = self.waiting = ram // 4
        self._room = ram // 2 if latents is None else latents
        self._scratch = Scratch(self.folder)

    def land(self, chunk: Chunk, file: File) -> None:
        """Let go of everything that the file of a chunk holds.

        Raises:
            OSError: If the disk refuses the latents.
        """
        keys = ("is_first", *self.layout.latents)
        arrays = {key: chunk.arrays[key][: chunk.rows].copy() for key in keys}
        size = self._size(arrays)
        if size <= self._room:
            self._room -= size
        else:
            latents = {key: arrays.pop(key) for key in self.layout.latents}
            chunk.scratch = self._scratch.place(latents)
        chunk.file = file
        chunk.arrays = arrays

    def release(self, chunk: Chunk) -> None:
        """Make room for the latents of another chunk."""
        if chunk.file is not None:
            self._room += self._size(chunk.arrays)

    def _size(self, arrays: Mapping[str, np.ndarray]) -> int:
        """Bytes of the latents among some arrays."""
        return sum(arrays[key].nbytes for key in self.layout.latents if key in arrays)


class RamStorage:
    """Chunks in ordinary memory.

    Args:
        layout: Keys of the chunks.
        compress: Whether images are compressed when they are saved.
    """

    folder = None
    growing = 1 << 60
    waiting = 1 << 30

    def __init__(self, layout: Layout, compress: bool = False):
        self.layout = layout
        self.compressed = layout.images if compress else ()

    def land(self, chunk: Chunk, file: File) -> None:
        """The chunk stays where it is."""

    def release(self, chunk: Chunk) -> None:
        """Nothing to do: its memory is free when nothing refers to the arrays any more."""


Storage = RamStorage | DiskStorage
"""Where the memory of chunks comes from."""
