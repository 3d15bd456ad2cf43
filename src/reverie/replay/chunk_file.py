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

from reverie.replay import codec, record
from reverie.replay.storage import Layout

_lock = threading.Lock()
"""Held while a file is opened or detached; both take microseconds."""


class ChunkFile:
    """The rows of one chunk file, which never changes.

    Args:
        path: The file.
        header: Its header.
        checked: Whether the content is known to agree with the checksums.

    Attributes:
        nbytes: Size of the file.

    Raises:
        DamagedFile: If the file is shorter than its header says.
    """

    def __init__(self, path: Path, header: record.Header, checked: bool):
        self.nbytes = record.check_size(path, header)
        self._path = path
        self._header = header
        self._checked = checked
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

    def check(self) -> None:
        """Read everything and compare it with the checksums, the first time only.

        Raises:
            DamagedFile: If they differ.
            FileNotFoundError: If the file was deleted.
        """
        if self._checked:
            return
        handle = self._open()
        try:
            record.check(self._path, handle, self._header)
        finally:
            os.close(handle)
        self._checked = True

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


def open_chunk(
    layout: Layout, chunk: Path, latents: Path
) -> tuple[ChunkFile, dict[str, np.ndarray]]:
    """A saved chunk as it was found, unchecked, and `is_first` and its latents, which are checked.

    Args:
        layout: Keys of the chunk.
        chunk: File of its steps.
        latents: File of its latents.

    Raises:
        DamagedFile: If a file is cut off, or what is read is damaged.
    """
    header = record.read_header(chunk)
    file, rows = ChunkFile(chunk, header, checked=False), header.fields["rows"]
    specs = {key: layout.specs[key] for key in ("is_first", *layout.latents)}
    arrays = {key: np.empty((rows, *shape), dtype) for key, (dtype, shape) in specs.items()}
    record.read_into(chunk, {"is_first": arrays["is_first"]})
    record.read_into(latents, {key: arrays[key] for key in layout.latents})
    return file, arrays


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
