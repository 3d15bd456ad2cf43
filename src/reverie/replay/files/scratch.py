"""Latents for which there is no room in memory.

They are rewritten after every update, while their durable copies are written only when the run is
saved. So they are in a file without a name, which the system frees however the process ends.
"""

import collections
import os
import tempfile
import weakref
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from reverie.replay.files.format import DamagedFile, fill


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
            self._handle, name = tempfile.mkstemp(dir=self._folder, prefix="scratch-")
            os.unlink(name)
            weakref.finalize(self, os.close, self._handle)
        size = sum(array.nbytes for array in latents.values())
        free = self._free[size]
        start = free.popleft() if free else self._end
        self._end = max(self._end, start + size)
        slot = Slot(self, self._handle, start, latents)
        weakref.finalize(slot, free.append, start)
        return slot


class Slot:
    """Latents of one chunk in a scratch file.

    Attributes:
        starts: Per key where they begin in it.
        nbytes: Their size.
    """

    def __init__(self, scratch: Scratch, handle: int, start: int, latents: Mapping):
        self._scratch = scratch  # Keeps the file open.
        self._handle = handle
        self.starts: dict[str, int] = {}
        self.nbytes = 0
        for key, array in latents.items():
            self.starts[key] = start + self.nbytes
            self.nbytes += array.nbytes
        self.write(0, latents)

    def read(self, start: int, targets: Mapping[str, np.ndarray]) -> None:
        """Fill each target `[n, *shape]` with the rows `start .. start+n-1` of its key."""
        for key, target in targets.items():
            if not fill(self._handle, target, self._position(key, start, target)):
                raise DamagedFile("The scratch file of latents is cut off.")

    def write(self, start: int, latents: Mapping[str, np.ndarray]) -> None:
        """Put latents `[n, *shape]` into the rows from `start` on."""
        for key, rows in latents.items():
            view = np.ascontiguousarray(rows).reshape(-1).view(np.uint8).data
            position = self._position(key, start, rows)
            while view:
                count = os.pwrite(self._handle, view, position)
                view, position = view[count:], position + count

    def _position(self, key: str, start: int, rows: np.ndarray) -> int:
        return self.starts[key] + start * (rows.nbytes // max(1, len(rows)))
