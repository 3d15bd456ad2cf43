"""Reads files of JSON lines that grow, each time only what is new."""

import collections
import os
import pathlib
import re
import zlib
from typing import Any, BinaryIO

from reverie.track.sinks.jsonl import parse

POINTS = 2000
"""A file with more lines than this gives means over neighbouring ones, at least half as many."""

LARGEST = 1e100
"""Numbers beyond, and what is no number, cannot be drawn."""

_GUARD = 64
"""Bytes before the end that was read which have to be the same at the next read."""


def read_new(path: pathlib.Path, cursor: str = "") -> dict[str, Any]:
    """Reads the lines of a file that were added since the last read.

    Memory and answer are limited whatever the size of the file. A last line that is not ended yet
    is left for the next read; lines that are no JSON objects are left out.

    A file that is missing is empty. The cursor is that of the last read.

    Returns:
        `columns`: key -> numbers, None where a line lacks it; `texts`: of each text its time, key
        and value; `cursor`; and `fresh`: whether everything was read, because it is the first time
        or the file is not the one of then: a run that is resumed takes lines back.
    """
    rows = _Rows()
    try:
        with open(path, "rb") as file:
            start = end = _known(file, cursor)
            file.seek(start)
            for line in file:
                if line.endswith(b"\n"):
                    rows.add(line)
                    end += len(line)
            return {**rows.result(), "cursor": _cursor(file, end), "fresh": not start}
    except FileNotFoundError:
        return {**rows.result(), "cursor": "", "fresh": True}


def _known(file: BinaryIO, cursor: str) -> int:
    """Where to go on; 0 if what was before is not there any more."""
    position, _, check = cursor.partition("-")
    if not re.fullmatch("[0-9]{1,19}", position) or int(position) > os.fstat(file.fileno()).st_size:
        return 0
    return int(position) if _cursor(file, int(position)) == f"{position}-{check}" else 0


def _cursor(file: BinaryIO, end: int) -> str:
    begin = max(0, end - _GUARD)
    return f"{end}-{zlib.crc32(os.pread(file.fileno(), end - begin, begin)):08x}"


class _Rows:
    """Numbers of rows; where there are too many, their means over 2, 4, 8, ... rows."""

    def __init__(self):
        self._width, self._open = 1, 0
        self._rows: list[dict[str, list[float]]] = []  # Key -> sum and count.
        self._texts: collections.deque[list[Any]] = collections.deque(maxlen=POINTS)

    def add(self, line: bytes) -> None:
        if (row := parse(line)) is None:
            return
        if not self._open:
            self._rows.append({})
        sums = self._rows[-1]
        for key, value in row.items():
            if isinstance(value, str):
                self._texts.append([_number(row.get("time")), key, value])
            elif _number(value) is not None:
                entry = sums.setdefault(key, [0, 0])
                entry[0] += value
                entry[1] += 1
        self._open = (self._open + 1) % self._width
        if len(self._rows) == POINTS and not self._open:
            self._halve()

    def _halve(self) -> None:
        for first, second in zip(self._rows[::2], self._rows[1::2], strict=True):
            for key, (total, count) in second.items():
                entry = first.setdefault(key, [0.0, 0])
                entry[0] += total
                entry[1] += count
        self._rows = self._rows[::2]
        self._width *= 2

    def result(self) -> dict[str, Any]:
        keys = sorted({key for row in self._rows for key in row})
        columns = {
            key: [row[key][0] / row[key][1] if key in row else None for row in self._rows]
            for key in keys
        }
        return {"columns": columns, "texts": list(self._texts)}


def _number(value: Any) -> float | None:
    return value if isinstance(value, int | float) and -LARGEST < value < LARGEST else None
