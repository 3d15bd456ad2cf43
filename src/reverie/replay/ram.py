"""Chunks in memory."""

import mmap
import sys
from pathlib import Path

import numpy as np

from reverie.replay.chunk_file import open_chunk
from reverie.replay.disk import OnDisk
from reverie.replay.storage import OFFSET_BITS, Chunk, Layout

LARGE = 1 << 22
"""Bytes from which on numpy asks for huge pages."""

UNUSED = 2
"""References that `sys.getrefcount` counts to a block without views: the list's and its own."""


class RamStorage:
    """Chunks in ordinary memory, used again when the last reader lets go of them.

    Large blocks are mapped here, page by page: huge pages, which numpy asks for, would be filled in
    part only where every stream writes its newest chunk. Reading is as fast.

    Those that a run has found when it was resumed stay in their files, except their latents: so
    nobody waits for what is drawn later or never, and the system's file cache is memory as well.

    Args:
        layout: Keys of the chunks.
        compress: Whether images are compressed when they are saved.
    """

    folder = None
    pending = 1 << 30

    def __init__(self, layout: Layout, compress: bool = False):
        self.layout = layout
        self.compressed = layout.images if compress else ()
        self._blocks: list[np.ndarray] = []

    def most_rows(self, streams: int) -> int:
        """Any number."""
        return 1 << OFFSET_BITS

    def allocate(self, serial: int, rows: int) -> dict[str, np.ndarray]:
        """Arrays over one block with whatever it held before."""
        return self.layout.carve(self._block(self.layout.nbytes(rows)), rows)

    def load(self, chunk: Path, latents: Path) -> tuple[dict[str, np.ndarray], OnDisk]:
        """Only latents and `is_first` are read; the rest is checked before its first use."""
        file, arrays = open_chunk(self.layout, chunk, latents)
        return arrays, OnDisk(file, None)

    def land(self, chunk: Chunk, path: Path) -> None:
        """The chunk stays where it is."""

    def release(self, chunk: Chunk) -> None:
        """Nothing to do: its memory is free when nothing refers to the arrays any more."""

    def usage(self, chunk: Chunk) -> tuple[int, int]:
        """Bytes in RAM and on disk."""
        if chunk.backing is None:
            return self.layout.nbytes(chunk.filled), 0
        return sum(array.nbytes for array in chunk.arrays.values()), chunk.backing.nbytes

    def _block(self, size: int) -> np.ndarray:
        """Bytes that nobody uses: those of an evicted chunk, or new ones."""
        index = 0
        while index < len(self._blocks):
            if sys.getrefcount(self._blocks[index]) > UNUSED:
                index += 1
            elif len(block := self._blocks.pop(index)) == size:
                break
        else:
            # The system allows some 65,000 mappings, so that small blocks have to share them.
            large = size >= LARGE
            block = np.frombuffer(mmap.mmap(-1, size), np.uint8) if large else np.empty(size, "u1")
        self._blocks.append(block)
        return block
