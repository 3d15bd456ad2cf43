"""Chunks whose rows are read from their files as they are needed.

Rows are read with `pread` rather than mapped: that is as fast out of the page cache, pages that
were read never count as memory of the process, and a file that somebody cuts is an error that can
be explained instead of a SIGBUS.
"""

import os
import threading
import weakref
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from reverie.replay.files import codec, record

_lock = threading.Lock()
"""Held while a file is opened or detached; both take microseconds."""


class ChunkFile:
    """The rows of one chunk file that is known to be whole, and never changes.

    Args:
        path: The file.
        header: Its header.

    Attributes:
        nbytes: Size of the file.
    """

    def __init__(self, path: Path, header: record.Header):
        self.nbytes = path.stat().st_size
        self._path = path
        self._header = header
        self._handle: int | None = None

    def read(self, start: int, targets: Mapping[str, np.ndarray]) -> None:
        """Fill each target `[n, *shape]` with the rows `start .. start+n-1` of its key.

        Raises:
            DamagedFile: If the file has become shorter, or what is compressed was altered.
        """
        handle = self._open()
        try:
            for key, target in targets.items():
                self._read_key(handle, key, start, target)
        finally:
            os.close(handle)

    def detach(self) -> None:
        """Stay readable although the file is about to be deleted."""
        with _lock:
            self._handle = os.open(self._path, os.O_RDONLY)
        weakref.finalize(self, os.close, self._handle)

    def _read_key(self, handle: int, key: str, start: int, target: np.ndarray) -> None:
        entry, position = self._header.arrays[key], self._header.position(key)
        if "codec" not in entry:
            size = target.nbytes // max(1, len(target))
            self._read_bytes(handle, target, position + start * size)
            return
        begin, end = codec.span(entry, start, len(target))
        stored = np.empty(end - begin, np.uint8)
        self._read_bytes(handle, stored, position + begin)
        record.unpack(self._path, self._header, key, stored, start, target)

    def _read_bytes(self, handle: int, target: np.ndarray, position: int) -> None:
        if not read_fully(handle, target, position):
            raise record.DamagedFile(f"{self._path} was cut off while it was in use.")

    def _open(self) -> int:
        # Opened for each use: a replay has more chunks than a process may have open files.
        with _lock:
            if self._handle is not None:
                return os.dup(self._handle)
            return os.open(self._path, os.O_RDONLY)


def read_fully(handle: int, target: np.ndarray, position: int) -> bool:
    """Fill a contiguous array from a file; False if the file ends before."""
    view = target.reshape(-1).view(np.uint8).data
    while view:
        count = os.preadv(handle, [view], position)
        if not count:
            return False
        view, position = view[count:], position + count
    return True


def write_fully(handle: int, source: np.ndarray, position: int) -> None:
    """Write an array into a file."""
    view = np.ascontiguousarray(source).reshape(-1).view(np.uint8).data
    while view:
        count = os.pwrite(handle, view, position)
        view, position = view[count:], position + count
