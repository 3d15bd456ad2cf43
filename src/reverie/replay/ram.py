"""Chunks in memory."""

from pathlib import Path

import numpy as np

from reverie.replay.chunk_file import open_chunk
from reverie.replay.disk import OnDisk
from reverie.replay.memory import HUGE, LARGE, Blocks, mapped
from reverie.replay.storage import OFFSET_BITS, Chunk, Layout


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
        self._blocks = Blocks()

    def most_rows(self, streams: int) -> int:
        """Any number."""
        return 1 << OFFSET_BITS

    def allocate(self, serial: int, rows: int) -> dict[str, np.ndarray]:
        """Arrays over one block with whatever it held before."""
        size = self.layout.nbytes(rows)
        block = self._blocks.get(size, lambda: self._block(size, rows))
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

    def _block(self, size: int, rows: int) -> np.ndarray:
        # The system allows some 65,000 mappings, so that small blocks have to share them.
        return mapped(size, self._huge(rows)) if size >= LARGE else np.empty(size, np.uint8)

    def _huge(self, rows: int) -> list[tuple[int, int]]:
        """Where a block has huge pages: in large keys, without their first rows.

        So a chunk that was just begun takes little.
        """
        starts = self.layout.starts(rows)
        ends = {key: starts[key] + self.layout.size(key, rows) for key in starts}
        large = [key for key in starts if ends[key] - starts[key] >= LARGE]
        return [(starts[key] + HUGE, ends[key]) for key in large]
