"""Large arrays in huge pages, used again when the last reader lets go of them."""

import contextlib
import mmap
import sys
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import DTypeLike

LARGE = 1 << 22
"""Bytes of an array from which on it is worth huge pages."""

HUGE = 1 << 21
"""Bytes of a huge page on the usual machines."""

_probe = [np.empty(0, np.uint8)]
UNUSED = sys.getrefcount(_probe[0])
"""References that are counted to a block in a list without views: how many depends on Python."""


class Blocks:
    """Blocks of bytes that were handed out. Views keep their block from being handed out again.

    As many are kept as were in use at once, of one size at a time. Needs a lock around it where
    several threads use it.
    """

    def __init__(self):
        self._blocks: list[np.ndarray] = []

    def __len__(self) -> int:
        return len(self._blocks)

    def get(self, size: int, make: Callable[[], np.ndarray]) -> np.ndarray:
        """A block that nobody uses any more; those of other sizes are freed.

        Args:
            size: Its bytes.
            make: Makes a new one of this size where all are in use.
        """
        index = 0
        while index < len(self._blocks):
            if sys.getrefcount(self._blocks[index]) > UNUSED:
                index += 1
            elif len(self._blocks[index]) == size:
                return self._blocks[index]
            else:
                del self._blocks[index]
        self._blocks.append(make())
        return self._blocks[-1]


class Targets:
    """Makes the arrays that batches are copied into.

    The allocator of the system may return such large arrays after every batch, and clear them page
    by page for the next one, which takes longer than copying the batch. Needs a lock around it.
    """

    def __init__(self):
        self._blocks = Blocks()

    def empty(self, shape: Sequence[int], dtype: DTypeLike) -> np.ndarray:
        """As `numpy.empty`."""
        size = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
        if size < LARGE:
            return np.empty(shape, dtype)
        block = self._blocks.get(size, lambda: mapped(size, [(0, size)]))
        return block.view(dtype).reshape(shape)


def mapped(size: int, huge: Sequence[tuple[int, int]]) -> np.ndarray:
    """Fresh memory of its own mapping, uint8 `[size]`.

    Args:
        size: Bytes.
        huge: Ranges of bytes that get huge pages. The first one begins with one, because only whole
            ones count.
    """
    memory = mmap.mmap(-1, size + HUGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if not huge or not hasattr(mmap, "MADV_HUGEPAGE"):
        return np.frombuffer(memory, np.uint8, size)
    shift = -(np.frombuffer(memory, np.uint8).ctypes.data + huge[0][0]) % HUGE
    for begin, end in huge:
        begin = -(-(begin + shift) // mmap.PAGESIZE) * mmap.PAGESIZE
        with contextlib.suppress(OSError):  # A system without huge pages.
            memory.madvise(mmap.MADV_HUGEPAGE, begin, end + shift - begin)
    return np.frombuffer(memory, np.uint8, size, shift)
