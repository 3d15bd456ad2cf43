"""Videos and images as files in the run folder."""

import pathlib
from collections.abc import Callable, Mapping

import numpy as np

from reverie.track.names import file_name
from reverie.track.sinks.base import Sink, Value
from reverie.track.video import write_image, write_video


class MediaSink(Sink):
    """Writes `videos/<name>_<step>.mp4` (or `.gif`) and `images/<name>_<step>.png`.

    Names are those of `reverie.track.names.file_name`; steps are padded with zeros so that files
    sort by time. Half-written files are never seen under these names.

    Args:
        logdir: Run folder.
        fps: Frames per second of videos.
        draw: Calls what writes the files, perhaps later; by default at once.
    """

    def __init__(
        self,
        logdir: str | pathlib.Path,
        fps: float = 15.0,
        draw: Callable[[Callable[[], object]], object] = lambda job: job(),
    ):
        self._folder = pathlib.Path(logdir).expanduser()
        self._fps = fps
        self._draw = draw

    def write(self, step: int, metrics: Mapping[str, Value]) -> None:
        """Writes one file for every video and image among the metrics."""
        pictures = {k: v for k, v in metrics.items() if isinstance(v, np.ndarray) and v.ndim > 2}
        if pictures:
            self._draw(lambda: self._write(step, pictures))

    def _write(self, step: int, pictures: Mapping[str, np.ndarray]) -> None:
        for key, value in pictures.items():
            name = f"{file_name(key)}_{step:09d}"
            if value.ndim == 4:
                write_video(self._folder / "videos" / name, value, fps=self._fps)
            else:
                write_image(self._folder / "images" / name, value)
