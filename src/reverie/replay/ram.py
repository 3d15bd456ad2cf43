"""Chunks in memory."""

import contextlib
import mmap
import sys
from pathlib import Path

import numpy as np

from reverie.replay.chunk_file import open_chunk
from reverie.replay.disk import OnDisk
from reverie.replay.storage import OFFSET_BITS, Chunk, Layout

LARGE = 1 << 22
"""Bytes of a key from which on it is worth huge pages."""

HUGE = 1 << 21
"""Bytes of a huge page on the usual machines."""

UNUSED = 2
"""References that `sys.getrefcount` counts to a block without views: the list's and its own."""


class RamStorage:
    """Chunks in ordinary memory, used again when the last reader lets go of them.

    Large blocks are mapped here, because numpy would ask for huge pages for all of them. That is
    faster for large keys, and for the others it only takes memory: every stream fills such a page
    in its newest chunk slowly, or never.

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
        size = self.layout.nbytes(rows)
        block = self._block(size)
        if block is None:
            # The system allows some 65,000 mappings, so that small blocks have to share them.
            block = _map(self.layout, rows) if size >= LARGE else np.empty(size, np.uint8)
        self._blocks.append(block)
        return self.layout.carve(block, rows)

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

    def _block(self, size: int) -> np.ndarray | None:
        """The bytes of an evicted chunk, if nobody uses them any more."""
        index = 0
        while index < len(self._blocks):
            if sys.getrefcount(self._blocks[index]) > UNUSED:
                index += 1
            elif len(block := self._blocks.pop(index)) == size:
                return block
        return None


def _map(layout: Layout, rows: int) -> np.ndarray:
    """Fresh memory, in huge pages where a key has many bytes."""
    size = layout.nbytes(rows)
    memory = mmap.mmap(-1, size + HUGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    block = np.frombuffer(memory, np.uint8, size)
    large = [a for a in layout.carve(block, rows).values() if a.nbytes >= LARGE]
    if not large or not hasattr(mmap, "MADV_HUGEPAGE"):
        return block
    # Only whole huge pages count, so the first large key begins with one.
    shift = -large[0].ctypes.data % HUGE
    for array in large:
        end = array.ctypes.data - block.ctypes.data + array.nbytes + shift
        # The first rows are left out, so that a chunk that was just begun takes little.
        begin = -(-(end - array.nbytes + HUGE) // mmap.PAGESIZE) * mmap.PAGESIZE
        with contextlib.suppress(OSError):  # A system without huge pages.
            memory.madvise(mmap.MADV_HUGEPAGE, begin, end - begin)
    return np.frombuffer(memory, np.uint8, size, shift)
