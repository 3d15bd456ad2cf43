"""Videos and images as files in the run folder."""

import pathlib
from collections.abc import Mapping

import numpy as np

from reverie.track.encoding.names import file_name
from reverie.track.encoding.video import write_image, write_video
from reverie.track.sinks.base import Sink, Value


class MediaSink(Sink):
    """Writes `videos/<name>_<step>.mp4` (or `.gif`) and `images/<name>_<step>.png`.

    Names are those of `track.encoding.names.file_name`; steps are padded with zeros so that files
    sort by time. Half-written files are never seen under these names.
    """

    def __init__(self, logdir: str | pathlib.Path, fps: float = 15.0):
        self._folder = pathlib.Path(logdir).expanduser()
        self._fps = fps

    def write(self, step: int, metrics: Mapping[str, Value]) -> None:
        """Writes one file for every video and image among the metrics."""
        for key, value in metrics.items():
            name = f"{file_name(key)}_{step:09d}"
            if isinstance(value, np.ndarray) and value.ndim == 4:
                write_video(self._folder / "videos" / name, value, fps=self._fps)
            elif isinstance(value, np.ndarray) and value.ndim == 3:
                write_image(self._folder / "images" / name, value)
