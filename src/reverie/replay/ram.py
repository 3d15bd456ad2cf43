"""Chunks in memory."""

from pathlib import Path

import numpy as np

from reverie.replay.chunk_file import open_chunk
from reverie.replay.disk import OnDisk
from reverie.replay.storage import OFFSET_BITS, Chunk, Layout


class RamStorage:
    """Chunks in ordinary memory.

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

    def most_rows(self, streams: int) -> int:
        """Any number."""
        return 1 << OFFSET_BITS

    def allocate(self, rows: int) -> dict[str, np.ndarray]:
        """Arrays of their own."""
        return self.layout.empty(rows)

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
