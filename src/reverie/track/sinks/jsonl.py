"""Metrics and scores as JSON lines, safe against kills and resumes."""

import itertools
import json
import math
import os
import pathlib
import time
from collections.abc import Mapping
from typing import Any

from reverie.track.sinks.base import Sink, Value

METRICS = "metrics.jsonl"
SCORES = "scores.jsonl"
NOTES = "notes.jsonl"

_TAIL = 2**16
"""Bytes at the end of a file in which its newest records are looked for first."""


class RecordsError(ValueError):
    """A file of records is damaged."""


class JsonlSink(Sink):
    """Writes `metrics.jsonl`, `scores.jsonl` and `notes.jsonl` into the run folder.

    `metrics.jsonl` gets one line per write: `step`, `time` (seconds since the epoch) and all
    numbers and texts. `scores.jsonl` gets one line per finished episode: `step`, `time`,
    `episode/score`, `episode/length`; episodes logged with a prefix, such as `eval`, keep it in
    their names. NaN and infinity are not part of JSON and become `null`. `notes.jsonl` gets the
    messages of the run: `time`, `note`.

    All files are appended to, each line with one system call: a killed process leaves whole
    lines, and a line torn by a full disk or a power cut is removed when the run resumes.
    """

    def __init__(self, logdir: str | pathlib.Path):
        folder = pathlib.Path(logdir).expanduser()
        folder.mkdir(parents=True, exist_ok=True)
        self._metrics = _Appender(folder / METRICS)
        self._scores = _Appender(folder / SCORES)
        self._notes = _Appender(folder / NOTES)

    def write(self, step: int, metrics: Mapping[str, Value]) -> None:
        """Appends one line to `metrics.jsonl`, unless there is no number or text to write."""
        values = {key: x for key, x in metrics.items() if isinstance(x, int | float | str)}
        if values:
            self._metrics.append({"step": step, "time": time.time(), **values})

    def episode(self, step: int, metrics: Mapping[str, Value]) -> None:
        """Appends one line to `scores.jsonl`."""
        values = {key: x for key, x in metrics.items() if isinstance(x, int | float | str)}
        self._scores.append({"step": step, "time": time.time(), **values})

    def note(self, text: str) -> None:
        """Appends one line to `notes.jsonl`."""
        self._notes.append({"time": time.time(), "note": text})

    def close(self) -> None:
        """Closes the files."""
        for file in (self._metrics, self._scores, self._notes):
            file.close()


def read_jsonl(path: str | pathlib.Path) -> list[dict[str, Any]]:
    """Reads a file of JSON lines, also while a run is writing it.

    Returns:
        One dict per line, in file order; `null` comes back as NaN. A last line that was cut off
        in the middle is left out.

    Raises:
        RecordsError: Another line than the last is not a JSON object.
    """
    path = pathlib.Path(path).expanduser()
    *lines, torn = path.read_bytes().split(b"\n")
    records = []
    for number, line in enumerate(lines, start=1):
        record = parse(line)
        if record is None:
            raise RecordsError(
                f"{path}, line {number} is not a JSON object: {line[:80]!r}. "
                "The file is damaged; correct this line to read the rest."
            )
        records.append(record)
    # A file that was not ended by a newline may still hold a whole record.
    last = parse(torn)
    if last is not None:
        records.append(last)
    return [{k: math.nan if v is None else v for k, v in r.items()} for r in records]


def last_records(path: str | pathlib.Path, count: int, key: str = "step") -> list[dict[str, Any]]:
    """The newest records of a file of JSON lines; the rest of it is not read.

    Args:
        path: For example `logdir / "scores.jsonl"`; without the file there are none.
        count: How many of them at most.
        key: What a record has to hold to count.

    Returns:
        As `read_jsonl`. Lines that are no JSON object are left out.
    """
    path = pathlib.Path(path).expanduser()
    if not path.exists():
        return []
    with open(path, "rb") as file:
        size, length = path.stat().st_size, _TAIL
        while True:
            file.seek(max(0, size - length))
            _, *lines = (b"\n" * (length >= size) + file.read(length)).split(b"\n")
            newest = (record for line in reversed(lines) if (record := parse(line)))
            found = list(itertools.islice((x for x in newest if key in x), count))
            if len(found) >= count or length >= size:
                break
            length *= 4
    return [{k: math.nan if v is None else v for k, v in r.items()} for r in reversed(found)]


def go_back(logdir: str | pathlib.Path, step: int) -> None:
    """Cuts off the records of later steps, which a resumed run is about to write again."""
    for name in (METRICS, SCORES):
        _mend(pathlib.Path(logdir).expanduser() / name, step)


class _Appender:
    """Appends records to one file, and mends the file's end before the first one."""

    def __init__(self, path: pathlib.Path):
        _mend(path)
        self._file: int | None = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        self._path = path

    def append(self, record: Mapping[str, Value]) -> None:
        if self._file is None:
            raise ValueError(f"{self._path} is closed: a logger cannot be used after close().")
        odd = {k: None for k, x in record.items() if isinstance(x, float) and not math.isfinite(x)}
        left = line = json.dumps({**record, **odd}, allow_nan=False).encode() + b"\n"
        try:
            while left:
                left = left[os.write(self._file, left) :]
        except OSError:
            # The next line would become part of the one that is torn.
            os.ftruncate(self._file, os.fstat(self._file).st_size - len(line) + len(left))
            raise

    def close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None


def _mend(path: pathlib.Path, latest: float = math.inf) -> None:
    """Ends a file with its last whole record of a step that is not later than another."""
    if not path.exists():
        return
    content = path.read_bytes()
    *lines, torn = content.split(b"\n")
    if parse(torn) is not None:
        lines.append(torn)
    while lines and (record := parse(lines[-1])) and record.get("step", 0) > latest:
        lines.pop()
    size = sum(len(line) + 1 for line in lines)
    if size > len(content):
        with open(path, "ab") as file:
            file.write(b"\n")
    elif size < len(content):
        os.truncate(path, size)


def parse(line: bytes) -> dict[str, Any] | None:
    """Decodes one line, or returns None when it is not a JSON object."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None
