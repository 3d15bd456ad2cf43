"""One file format for everything that replay keeps on disk: named arrays with checksums.

Layout: magic, length and CRC-32 of the header, the header as JSON (free fields and one entry per
array: dtype, shape, start, CRC-32), padding, then the arrays, each at a 64-byte boundary. Entries
of compressed arrays also have what `codec` needs to read them; the checksum is that of the bytes in
the file. A file appears under its name only when it is complete and on the disk, so a reader sees
the old content, the new content, or no file.
"""

import dataclasses
import json
import math
import os
import struct
import zlib
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import ml_dtypes  # noqa: F401 (makes numpy know the name `bfloat16`)
import numpy as np

from reverie.replay.files import codec

MAGIC = b"RVREPLAY"
TEMPORARY = ".tmp"
_PREAMBLE = struct.Struct("<8sII")
_ALIGN = 64
_DTYPES = {"bool", "bfloat16"} | {
    f"{kind}{bits}" for kind in ("int", "uint", "float") for bits in (8, 16, 32, 64)
}
_LARGEST = 256
"""Bytes of an array per byte of its file; LZ4 never reaches it."""


class DamagedFile(Exception):
    """A file that is torn, altered, or not one of replay's."""


@dataclasses.dataclass(frozen=True)
class Header:
    """What a file holds, without reading its arrays.

    Attributes:
        fields: The free fields that it was written with.
        arrays: Per key: `dtype` name, `shape`, `start` in the payload and `crc`; if it is
            compressed also what `codec.pack` has returned.
        payload: Position of the payload in the file.
    """

    fields: dict[str, Any]
    arrays: dict[str, dict[str, Any]]
    payload: int

    def position(self, key: str) -> int:
        """Position of an array in the file."""
        return self.payload + self.arrays[key]["start"]


def write(
    path: Path,
    fields: Mapping[str, Any],
    arrays: Mapping[str, np.ndarray],
    compress: Collection[str] = (),
) -> None:
    """Write a file atomically: temporary name, flush to disk, rename.

    The rename itself is durable after the caller has called `sync` on the folder.

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
            blob, packing = codec.pack(array)
        else:
            blob, packing = np.ascontiguousarray(array).reshape(-1).view(np.uint8), {}
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
    head = _PREAMBLE.pack(MAGIC, len(header), zlib.crc32(header)) + header
    _replace(path, [np.frombuffer(head, np.uint8), *blobs])


def read_header(path: Path) -> Header:
    """Read and check the header alone.

    Raises:
        DamagedFile: If the header is not whole.
        MissingCodecError: If arrays are compressed and cannot be read here.
    """
    with open(path, "rb") as file:
        return _header(file, path)


def read(path: Path) -> tuple[Header, dict[str, np.ndarray]]:
    """Read and check a whole file.

    Raises:
        DamagedFile: If the header or any array is not whole.
    """
    header = read_header(path)
    arrays = {
        key: np.empty(entry["shape"], np.dtype(entry["dtype"]))
        for key, entry in header.arrays.items()
    }
    read_into(path, arrays)
    return header, arrays


def read_into(path: Path, targets: Mapping[str, np.ndarray]) -> None:
    """Read and check some arrays; those with more rows than their target are cut.

    Args:
        path: The file.
        targets: Contiguous arrays of the file's dtypes, with at most as many rows.

    Raises:
        DamagedFile: If the header or one of the arrays is not whole.
    """
    with open(path, "rb") as file:
        header = _header(file, path)
        for key, target in targets.items():
            _read_array(file, path, header, key, target)


def unpack(
    path: Path, header: Header, key: str, stored: np.ndarray, start: int, target: np.ndarray
) -> None:
    """Fill a target with rows of a compressed array, as `codec.unpack`.

    Raises:
        DamagedFile: If a block is damaged.
    """
    if not codec.unpack(header.arrays[key], stored, start, target):
        raise DamagedFile(f"{path} has a damaged array '{key}'.")


def sync(folder: Path) -> None:
    """Make the renames and deletions in a folder durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _replace(path: Path, blobs: Sequence[np.ndarray]) -> None:
    temporary = path.with_name(path.name + TEMPORARY)
    try:
        with open(temporary, "wb") as file:
            for blob in blobs:
                file.write(blob.data)
                file.write(bytes(_gap(blob.size)))
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _header(file: BinaryIO, path: Path) -> Header:
    preamble = file.read(_PREAMBLE.size)
    if len(preamble) < _PREAMBLE.size or not preamble.startswith(MAGIC):
        raise DamagedFile(f"{path} does not start like a file of replay.")
    _, size, crc = _PREAMBLE.unpack(preamble)
    length = os.fstat(file.fileno()).st_size
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
        codec.check_codec(f"{path}, written with replay.compress,", name)
    head = _PREAMBLE.size + size
    return Header(content["fields"], content["arrays"], head + _gap(head))


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


def _read_array(file: BinaryIO, path: Path, header: Header, key: str, target: np.ndarray) -> None:
    entry = header.arrays[key]
    packed = "codec" in entry
    file.seek(header.position(key))
    blob = np.empty(_size(entry), np.uint8) if packed else target.reshape(-1).view(np.uint8)
    count = file.readinto(blob.data)  # type: ignore[attr-defined]
    crc = zlib.crc32(blob.data)
    # The checksum covers the rows beyond the target too.
    rest = file.read(_size(entry) - blob.size)
    if count + len(rest) != _size(entry) or zlib.crc32(rest, crc) != entry["crc"]:
        raise DamagedFile(f"{path} has a damaged array '{key}'.")
    if packed:
        unpack(path, header, key, blob, 0, target)


def _size(entry: dict[str, Any]) -> int:
    """Bytes of an array in the file."""
    if "codec" in entry:
        return entry["bounds"][-1]
    return np.dtype(entry["dtype"]).itemsize * math.prod(entry["shape"])


def _gap(size: int) -> int:
    return -size % _ALIGN
