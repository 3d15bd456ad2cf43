"""Chunks in memory."""

from pathlib import Path

import numpy as np

from reverie.replay.storage import OFFSET_BITS, Chunk, Layout


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
