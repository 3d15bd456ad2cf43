"""Trackio, local unless its variables name a server."""

import importlib
import os
import pathlib
import re
import secrets
import tempfile
from collections.abc import Mapping
from typing import Any

import numpy as np

from reverie.track.encoding.names import printable
from reverie.track.encoding.video import write_image, write_video
from reverie.track.sinks.base import RunInfo, Sink, Value, kept, showable

NAME = "trackio_run.txt"
"""Keeps the name of the run in its folder, so that a resume goes on with the same run."""


def check() -> None:
    """Imports what the sink needs."""
    importlib.import_module("trackio")


class TrackioSink(Sink):
    """Writes numbers, texts, images, videos, histograms and the configuration to one Trackio run.

    The variables that Trackio reads decide the rest, such as `TRACKIO_DIR`, where everything lies,
    and `TRACKIO_SPACE_ID`. The project is `reverie`, or what `TRACKIO_PROJECT` says.
    """

    def __init__(self, run: RunInfo):
        self._trackio: Any = importlib.import_module("trackio")
        run.logdir.mkdir(parents=True, exist_ok=True)
        self._fps, self._last = run.fps, -1
        self._run = self._trackio.init(
            project=os.environ.get("TRACKIO_PROJECT", "reverie"),
            name=kept(run.logdir / NAME, r"[\w.-]{1,100}", _name(run.logdir)),
            config=dict(run.options or {}),
            resume="allow",
            embed=False,
            # Runs log what they take of the machine themselves.
            auto_log_gpu=False,
            auto_log_cpu=False,
        )

        if run.first_step:
            # Steps that an earlier process has written already, and that happen again, stay.
            self._last = getattr(self._run, "_next_step", 0) - 1

    def write(self, step: int, metrics: Mapping[str, Value]) -> None:
        """Writes all metrics."""
        if step <= self._last:
            return
        with tempfile.TemporaryDirectory() as folder:
            values = {
                printable(key): self._convert(value, pathlib.Path(folder) / str(number))
                for number, (key, value) in enumerate(showable(metrics).items())
            }
            self._run.log(values, step=step)

    def close(self) -> None:
        """Ends the run, waiting until everything is written."""
        self._run.finish()

    def _convert(self, value: Value, path: pathlib.Path) -> Any:
        if not isinstance(value, np.ndarray):
            return value
        if value.ndim == 1:
            return self._trackio.Histogram(value)
        if value.ndim == 3:
            return self._trackio.Image(str(write_image(path, value)))
        path = write_video(path, value, fps=self._fps)
        # Its player takes no gif, which is what there is without an encoder of films.
        kind = self._trackio.Image if path.suffix == ".gif" else self._trackio.Video
        return kind(str(path))


def _name(folder: pathlib.Path) -> str:
    """That of the folder, and more: folders elsewhere may have the same."""
    name = re.sub(r"[^\w.-]", "-", folder.resolve().name, flags=re.ASCII)[:80]
    return f"{name}-{secrets.token_hex(2)}"
