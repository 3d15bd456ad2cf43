"""One file format for everything that replay keeps on disk: named arrays with checksums.

Layout: magic, length and CRC-32 of the header, the header as JSON (free fields and one entry per
array: dtype, shape, start, CRC-32), padding, then the arrays, each at a 64-byte boundary. A file
appears under its name only when it is complete and on the disk, so a reader sees the old content,
the new content, or no file.

Arrays may be compressed, in blocks of rows that can be read one by one. Their entries also have the
name of the `codec`, the `rows` of a block, and `bounds`: block i is from `bounds[i]` to
`bounds[i + 1]`. LZ4 unpacks images of games at several GB per second, ten times faster than zlib. A
block that would not become smaller is stored as it is, so that no array grows. The checksum is that
of the bytes in the file.
"""

import contextlib
import importlib
import itertools
import json
import math
import os
import struct
import threading
import weakref
import zlib
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, BinaryIO

import ml_dtypes  # noqa: F401 (makes numpy know the name `bfloat16`)
import numpy as np

from reverie.disk import whole_file
from reverie.extras import install

CODEC = "lz4"
ROWS = 8
"""Rows of a block. More of them compress better, but a sequence may begin in the last one."""

_MAGIC = b"RVREPLAY"
_PREAMBLE = struct.Struct("<8sII")
_ALIGN = 64
_DTYPES = {"bool", "bfloat16"} | {
    f"{kind}{bits}" for kind in ("int", "uint", "float") for bits in (8, 16, 32, 64)
}
_LARGEST = 256
"""Bytes of an array per byte of its file; LZ4 never reaches it."""

_lock = threading.Lock()
"""Held while a file is opened or detached; both take microseconds."""


class DamagedFile(Exception):
    """A file that is torn, altered, or not one of replay's."""


class MissingCodecError(ImportError):
    """What reads or writes compressed arrays is not installed."""


class File:
    """A file, whose rows are read as they are needed.

    With `pread`, which is as fast as a map out of the page cache: but pages that were read never
    count as memory of the process, and a file that is cut is an error, not a SIGBUS.

    Args:
        path: Where it is; it never changes, but may be replaced.
        kept: Whether it is held open, so that all that is read is of this version of it.

    Attributes:
        fields: The free fields that it was written with.
        arrays: Per key the entry of the header.
        position: Per key where the array begins in the file.
        nbytes: Size of the file.

    Raises:
        DamagedFile: If the header is not whole.
        MissingCodecError: If arrays are compressed and cannot be read here.
    """

    def __init__(self, path: Path, kept: bool = False):
        self._path = path
        self._handle: int | None = None
        with open(path, "rb") as file:
            self.nbytes = os.fstat(file.fileno()).st_size
            self.fields, self.arrays, payload = _read_header(file, path, self.nbytes)
            if kept:
                self._keep(os.dup(file.fileno()))
        self.position = {key: payload + entry["start"] for key, entry in self.arrays.items()}

    def read(self, start: int, targets: Mapping[str, np.ndarray]) -> None:
        """Fill each target `[n, *shape]` with the rows `start .. start+n-1` of its key.

        Targets are contiguous and have the file's dtypes. Checksums are those of whole arrays and
        not looked at.

        Raises:
            DamagedFile: If the file has become shorter, or what is compressed was altered.
        """
        with self._opened() as handle:
            for key, target in targets.items():
                entry = self.arrays[key]
                packed = "codec" in entry
                begin, end = _span(entry, start, len(target))
                stored = np.empty(end - begin, np.uint8) if packed else target
                if not fill(handle, stored, self.position[key] + begin):
                    raise DamagedFile(f"{self._path} was cut off while it was in use.")
                if packed:
                    self._unpack(key, stored, start, target)

    def load(self, targets: Mapping[str, np.ndarray]) -> None:
        """Fill targets with the first rows of their keys, and compare the checksums of all rows.

        Raises:
            DamagedFile: If one of the arrays is not whole.
        """
        with self._opened() as handle:
            for key, target in targets.items():
                entry = self.arrays[key]
                _, size = _span(entry, 0, math.prod(entry["shape"][:1]))
                stored = np.empty(size, np.uint8)
                whole = fill(handle, stored, self.position[key])
                if not whole or zlib.crc32(stored.data) != entry["crc"]:
                    raise self._damaged(key)
                if "codec" in entry:
                    self._unpack(key, stored, 0, target)
                else:
                    _bytes(target)[:] = stored[: target.nbytes]

    def detach(self) -> None:
        """Stay readable although the file is about to be deleted."""
        with _lock:
            self._keep(os.open(self._path, os.O_RDONLY))

    def _keep(self, handle: int) -> None:
        self._handle = handle
        weakref.finalize(self, os.close, handle)

    def _unpack(self, key: str, stored: np.ndarray, start: int, target: np.ndarray) -> None:
        """Fill a target with the rows from `start` on out of the bytes of their blocks."""
        shape, rows, bounds = (self.arrays[key][name] for name in ("shape", "rows", "bounds"))
        size = target.itemsize * math.prod(shape[1:])
        first, last = start // rows, -(-(start + len(target)) // rows)
        content = bytearray()
        for index in range(first, last):
            block = stored[bounds[index] - bounds[first] : bounds[index + 1] - bounds[first]].data
            wanted = size * min(rows, shape[0] - rows * index)
            if len(block) != wanted:
                try:
                    block = _lz4().decompress(block, uncompressed_size=wanted)
                except _lz4().LZ4BlockError as error:
                    raise self._damaged(key) from error
            content += block
        if len(content) != size * (min(rows * last, shape[0]) - rows * first):
            raise self._damaged(key)
        begin = size * (start - rows * first)
        _bytes(target)[:] = np.frombuffer(content, np.uint8)[begin : begin + target.nbytes]

    def _damaged(self, key: str) -> DamagedFile:
        return DamagedFile(f"{self._path} has a damaged array '{key}'.")

    @contextlib.contextmanager
    def _opened(self) -> Iterator[int]:
        # Opened for each use: a replay has more chunks than a process may have open files.
        with _lock:
            kept = self._handle
            handle = os.open(self._path, os.O_RDONLY) if kept is None else os.dup(kept)
        try:
            yield handle
        finally:
            os.close(handle)


def write(
    path: Path,
    fields: Mapping[str, Any],
    arrays: Mapping[str, np.ndarray],
    compress: Collection[str] = (),
) -> None:
    """Write a file atomically: temporary name, flush to disk, rename.

    The rename itself is durable after the caller has called `sync` on the folder, which is made if
    need be.

    Args:
        path: Destination; an existing file is replaced.
        fields: JSON-serialisable values.
        arrays: Any arrays of fixed-size dtypes.
        compress: Keys of those arrays `[rows, *shape]` that are compressed.

    Raises:
        MissingCodecError: If something is to be compressed and the package for it is missing.
        OSError: If the disk refuses, for example because it is full. The destination keeps its
            earlier content.
    """
    blobs, entries, start = [], {}, 0
    for key, array in arrays.items():
        if key in compress:
            blob, packing = pack(array)
        else:
            blob, packing = _bytes(np.ascontiguousarray(array)), {}
        entries[key] = {
            "dtype": array.dtype.name,
            "shape": list(array.shape),
            "start": start,
            "crc": zlib.crc32(blob.data),
            **packing,
        }
        blobs.append(blob)
        start += blob.size + _gap(blob.size)
    header = json.dumps({"fields": dict(fields), "arrays": entries}).encode()
    head = _PREAMBLE.pack(_MAGIC, len(header), zlib.crc32(header)) + header
    with whole_file(path) as partial, open(partial, "wb") as file:
        for blob in (np.frombuffer(head, np.uint8), *blobs):
            file.write(blob.data)
            file.write(bytes(_gap(blob.size)))


def read(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The fields and the arrays of a file, checked.

    Raises:
        DamagedFile: If the header or any array is not whole.
    """
    file = File(path)
    arrays = {k: np.empty(x["shape"], np.dtype(x["dtype"])) for k, x in file.arrays.items()}
    file.load(arrays)
    return file.fields, arrays


def check_codec(wanted: str, codec: str = CODEC) -> None:
    """Raises MissingCodecError unless what is wanted can compress and read arrays."""
    if codec != CODEC:
        raise MissingCodecError(f"{wanted} needs {codec!r}, which this version does not know.")
    try:
        _lz4()
    except ImportError as error:
        raise MissingCodecError(f"{wanted} needs the package lz4: {install('compress')}") from error


def pack(array: np.ndarray) -> tuple[np.ndarray, dict[str, Any]]:
    """What to store of an array `[rows, *shape]`, uint8, and what its entry has besides."""
    compress = _lz4().compress
    blocks = []
    for start in range(0, len(array), ROWS):
        raw = _bytes(np.ascontiguousarray(array[start : start + ROWS])).data
        packed = compress(raw, store_size=False)
        blocks.append(packed if len(packed) < raw.nbytes else raw)
    bounds = [0, *itertools.accumulate(len(block) for block in blocks)]
    stored = np.frombuffer(b"".join(blocks), np.uint8)
    return stored, {"codec": CODEC, "rows": ROWS, "bounds": bounds}


def _lz4() -> ModuleType:
    # Here and not above: only those who compress need the package.
    return importlib.import_module("lz4.block")


def _read_header(
    file: BinaryIO, path: Path, length: int
) -> tuple[dict[str, Any], dict[str, dict[str, Any]], int]:
    """Fields, entries and the position of the arrays."""
    preamble = file.read(_PREAMBLE.size)
    if len(preamble) < _PREAMBLE.size or not preamble.startswith(_MAGIC):
        raise DamagedFile(f"{path} does not start like a file of replay.")
    _, size, crc = _PREAMBLE.unpack(preamble)
    text = file.read(min(size, length))
    if len(text) < size or zlib.crc32(text) != crc:
        raise DamagedFile(f"{path} has a damaged header.")
    try:
        content = json.loads(text)
        if not isinstance(content["fields"], dict):
            raise TypeError("its fields have no names")
        for entry in content["arrays"].values():
            _check_entry(entry, length)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise DamagedFile(f"{path} has a header that makes no sense ({error}).") from error
    for name in {entry["codec"] for entry in content["arrays"].values() if "codec" in entry}:
        check_codec(f"{path}, written with replay.compress,", name)
    head = _PREAMBLE.size + size
    return content["fields"], content["arrays"], head + _gap(head)


def _check_entry(entry: dict[str, Any], length: int) -> None:
    """Raises unless an array can be what a file of this length holds."""
    if entry["dtype"] not in _DTYPES:
        raise ValueError(f"{entry['dtype']!r} is no type of numbers")
    bounds = entry["bounds"] if "codec" in entry else []
    numbers = [*entry["shape"], entry["start"], entry["crc"], *bounds]
    if not all(type(number) is int and number >= 0 for number in numbers):
        raise ValueError("sizes are no whole numbers")
    if max(entry["start"], *bounds[-1:], 0) > length:
        raise ValueError("it ends before what it holds")
    if "codec" in entry:
        rows = entry["shape"][0]
        if entry["rows"] < 1 or len(bounds) != 1 + -(-rows // entry["rows"]):
            raise ValueError("blocks are missing")
        if bounds != sorted(bounds):
            raise ValueError("blocks lie over each other")
    size = np.dtype(entry["dtype"]).itemsize * math.prod(entry["shape"])
    if size > _LARGEST * length:
        raise ValueError(f"{size:,} bytes in a file of {length:,}")


def _span(entry: dict[str, Any], start: int, count: int) -> tuple[int, int]:
    """Where what holds the rows `start .. start+count-1` of an array begins and ends in it."""
    if "codec" in entry:
        rows, bounds = entry["rows"], entry["bounds"]
        return bounds[start // rows], bounds[-(-(start + count) // rows)]
    size = np.dtype(entry["dtype"]).itemsize * math.prod(entry["shape"][1:])
    return start * size, (start + count) * size


def fill(handle: int, target: np.ndarray, position: int) -> bool:
    """Fill a contiguous array from a file; False if the file ends before."""
    view = _bytes(target).data
    while view:
        count = os.preadv(handle, [view], position)
        if not count:
            return False
        view, position = view[count:], position + count
    return True


def _bytes(array: np.ndarray) -> np.ndarray:
    """The bytes of a contiguous array, uint8 `[n]`."""
    return array.reshape(-1).view(np.uint8)


def _gap(size: int) -> int:
    return -size % _ALIGN
