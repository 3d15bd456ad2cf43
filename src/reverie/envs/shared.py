"""Arrays that a parent and its worker processes see at once."""

import dataclasses
import mmap
import os
import tempfile
from collections.abc import Mapping

import numpy as np

ALIGN = 64


@dataclasses.dataclass(frozen=True)
class Layout:
    """Where each array lies in a block of shared memory.

    Args:
        entries: Name -> (dtype, shape, offset in bytes).
        size: Bytes of the whole block.
    """

    entries: Mapping[str, tuple[str, tuple[int, ...], int]]
    size: int


def plan(fields: Mapping[str, tuple[str, tuple[int, ...]]]) -> Layout:
    """Lays out arrays one after another, each on its own cache line.

    Args:
        fields: Name -> (dtype, shape).
    """
    entries, offset = {}, 0
    for name, (dtype, shape) in fields.items():
        entries[name] = (dtype, shape, offset)
        size = np.dtype(dtype).itemsize * int(np.prod(shape, dtype=np.int64))
        offset += -(-size // ALIGN) * ALIGN
    return Layout(entries, max(offset, ALIGN))


def create(layout: Layout) -> int:
    """File descriptor of a new block of zeros.

    The file has no name, so it vanishes with the last process that holds it, however that ends.
    """
    folder = "/dev/shm" if os.path.isdir("/dev/shm") else None
    with tempfile.TemporaryFile(dir=folder) as file:
        file.truncate(layout.size)
        return os.dup(file.fileno())


def attach(fd: int, layout: Layout) -> dict[str, np.ndarray]:
    """The arrays of a block, as views into the shared memory."""
    block = mmap.mmap(fd, layout.size)
    return {
        name: np.ndarray(shape, dtype, buffer=block, offset=offset)
        for name, (dtype, shape, offset) in layout.entries.items()
    }
