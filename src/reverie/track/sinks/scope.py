"""Columns for Scope."""

import os
import pathlib
import re
import shutil
import struct
from collections.abc import Mapping

import numpy as np

from reverie.track.encoding.names import digest
from reverie.track.encoding.video import even_rgb
from reverie.track.sinks.base import RunInfo, Sink, Value, showable

FOLDER = "scope"
LONGEST = 100
"""Longest name of a column, which is a name of a file."""


def check() -> None:
    """Imports what the sink needs."""
    import av  # noqa: F401
    from scope import Writer  # noqa: F401


class ScopeSink(Sink):
    """Writes numbers, texts, images and videos as columns into `scope/` of the run folder.

    Messages are the text column `notes`, the configuration is the text column `config`.
    Everything is on disk when a call returns.
    """

    def __init__(self, run: RunInfo):
        from scope import Writer, formats

        self._run = run
        if run.first_step is not None:
            for path in sorted((run.logdir / FOLDER).glob("*")):
                _cut(path, run.first_step)
        kinds = [
            formats.Text(),
            formats.Float(),
            formats.Image(),
            formats.Video(fps=round(run.fps)),
        ]
        self._writer = Writer(run.logdir, workers=0, formats=kinds)
        if run.options:
            lines = "\n".join(f"{key}: {value}" for key, value in run.flat().items())
            self.write(run.first_step or 0, {"config": lines})

    def write(self, step: int, metrics: Mapping[str, Value]) -> None:
        """Writes all metrics but histograms, which Scope does not have."""
        for key, value in showable(metrics).items():
            if isinstance(value, np.ndarray):
                if value.ndim == 1:
                    continue
                value = even_rgb(value) if value.ndim == 4 else value[..., :3]
            self._writer.add(step, {_column(key): value})
        self._writer.flush()

    def note(self, text: str) -> None:
        """Writes a message."""
        self.write(self._run.step(), {"notes": text})


def _column(key: str) -> str:
    """The name of a column: Scope takes small letters, digits, underscores and slashes."""
    name = re.sub("[^a-z0-9_/]", "_", key.lower())[:LONGEST]
    return name if name == key and name[0] != "/" else f"x{name}_{digest(key)}"


def _cut(path: pathlib.Path, step: int) -> None:
    """Takes what was written about later steps, or only in part, off the end of a column.

    Those steps happen again. A column is a table of records of 16 bytes that begin with the step;
    where values are files, it is the table that names them. Scope cannot read an empty one.
    """
    table = path / "index" if path.is_dir() else path
    if not table.is_file():
        return
    record = struct.Struct("=q8s" if path.is_dir() else ">q8s")
    data = table.read_bytes()
    steps = [s for s, _ in record.iter_unpack(data[: len(data) // record.size * record.size])]
    kept = next((i for i, s in enumerate(steps) if s > step), len(steps))
    if kept:
        os.truncate(table, kept * record.size)
    elif path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
