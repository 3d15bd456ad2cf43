"""Writes uint8 arrays as video and image files.

Videos are H.264 in mp4 when `imageio-ffmpeg` is installed (the `video` extra), which browsers and
chat tools play, and animated gif otherwise.
"""

import contextlib
import importlib.util
import io
import math
import os
import pathlib
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from reverie.disk import whole_file
from reverie.extras import install

MIN_WIDTH = 256
"""Narrower frames are enlarged: video codecs halve colour resolution, which blurs 64x64 frames."""


GIF_FRAMES = 1000
"""Frames of a gif for which there is memory on any machine: some hundred MB."""


Add = Callable[[np.ndarray], object]
"""Takes the next frame."""


class VideoWriter(contextlib.AbstractContextManager):
    """Writes a video frame by frame.

    An mp4 may be longer than fits in memory. A gif is kept there until it is written: who films
    what may be long looks at `most`.

    Whatever ends the `with` block early leaves no file. Without a frame there is none either.

    Args:
        path: Where to write, without an extension; folders are created.
        fps: Frames per second.
        format: `mp4`, `gif` or `auto` (mp4 when `imageio-ffmpeg` is installed).

    Attributes:
        path: The file, with its extension.
        count: Number of frames so far.
        most: Number of frames that there is surely room for; infinite for mp4.

    Raises:
        ValueError: The format is unknown, or the rate none.
        ImportError: mp4 was asked for and `imageio-ffmpeg` is missing.
    """

    def __init__(self, path: str | os.PathLike[str], fps: float = 15.0, format: str = "auto"):
        if format not in ("auto", "mp4", "gif"):
            raise ValueError(f"Unknown video format {format!r}: expected 'auto', 'mp4' or 'gif'.")
        if not fps > 0:
            raise ValueError(f"A video needs a positive frame rate, got fps={fps}.")
        if format == "auto":
            format = "mp4" if importlib.util.find_spec("imageio_ffmpeg") else "gif"
        self.path = pathlib.Path(f"{os.fspath(path)}.{format}").expanduser()
        self.count = 0
        self.most = GIF_FRAMES if format == "gif" else math.inf
        if format == "mp4":
            _ffmpeg()
        self._encoder, self._fps = _mp4 if format == "mp4" else _gif, fps
        self._stack = contextlib.ExitStack()

    def add(self, frame: np.ndarray) -> None:
        """Adds a frame, uint8 [H, W, C] with 1, 3 or 4 channels; all are of one size.

        Raises:
            ValueError: It is no such array.
        """
        frame = even_rgb(frame[None])[0]
        if not self.count:
            partial = self._stack.enter_context(whole_file(self.path))
            encoder = self._encoder(partial, frame.shape, self._fps)
            self._add = self._stack.enter_context(encoder)
        self._add(frame)
        self.count += 1

    def __exit__(self, *error: Any) -> None:
        self._stack.__exit__(*error)


def write_video(
    path: str | pathlib.Path, video: np.ndarray, fps: float = 15.0, format: str = "auto"
) -> pathlib.Path:
    """Writes a video file, at once or not at all.

    Args:
        path: Where to write, without an extension; folders are created.
        video: uint8 [T, H, W, C] with 1 (grey), 3 (RGB) or 4 channels (RGBA; alpha is dropped).
        fps: Frames per second.
        format: `mp4`, `gif` or `auto` (mp4 when `imageio-ffmpeg` is installed).

    Returns:
        The path of the file, with its extension.

    Raises:
        ValueError: The array is not such a video, or the format is unknown.
        ImportError: mp4 was asked for and `imageio-ffmpeg` is missing.
        RuntimeError: ffmpeg failed; the message holds its output.
    """
    _check(video, ndim=4)
    with VideoWriter(path, fps, format) as writer:
        for frame in video:
            writer.add(frame)
    return writer.path


def even_rgb(video: np.ndarray) -> np.ndarray:
    """A uint8 video as [T, H, W, 3] of even sides, which H.264 asks for, and not too small.

    Raises:
        ValueError: The array is not such a video.
    """
    frames = wide_rgb(video, MIN_WIDTH)
    odd = (0, frames.shape[1] % 2), (0, frames.shape[2] % 2)
    return np.ascontiguousarray(np.pad(frames, ((0, 0), *odd, (0, 0)), mode="edge"))


def wide_rgb(video: np.ndarray, width: int) -> np.ndarray:
    """A uint8 video in three channels, with its pixels repeated where it is narrower than that."""
    frames = _rgb(video, ndim=4)
    factor = -(-width // frames.shape[2])
    return frames.repeat(factor, axis=1).repeat(factor, axis=2)


def write_image(path: str | pathlib.Path, image: np.ndarray) -> pathlib.Path:
    """Writes a png file, at once or not at all.

    Args:
        path: Where to write, without an extension; folders are created.
        image: uint8 [H, W, C] with 1, 3 or 4 channels.

    Returns:
        The path of the file, with its extension.

    Raises:
        ValueError: The array is not such an image.
    """
    data = png(image)
    path = pathlib.Path(f"{os.fspath(path)}.png").expanduser()
    with whole_file(path) as partial:
        partial.write_bytes(data)
    return path


def png(image: np.ndarray) -> bytes:
    """Encodes a uint8 image [H, W, C] with 1, 3 or 4 channels."""
    from PIL import Image

    data = io.BytesIO()
    Image.fromarray(_rgb(image, ndim=3)).save(data, "PNG")
    return data.getvalue()


def gif(video: np.ndarray, fps: float) -> bytes:
    """Encodes a uint8 video [T, H, W, C] as an animated gif, for viewers that play nothing else."""
    data = io.BytesIO()
    with _gif(data, video.shape[1:], fps) as add:
        for frame in even_rgb(video):
            add(frame)
    return data.getvalue()


def _check(array: np.ndarray, ndim: int) -> None:
    if array.dtype != np.uint8 or array.ndim != ndim or array.shape[-1] not in (1, 3, 4):
        axes = "[T, H, W, C]" if ndim == 4 else "[H, W, C]"
        raise ValueError(
            f"Expected uint8 {axes} with 1, 3 or 4 channels, got {array.dtype} {array.shape}."
        )
    if 0 in array.shape:
        raise ValueError(f"There is nothing to write: the array has shape {array.shape}.")


def _rgb(array: np.ndarray, ndim: int) -> np.ndarray:
    _check(array, ndim)
    return np.repeat(array, 3, axis=-1) if array.shape[-1] == 1 else array[..., :3]


def _ffmpeg() -> str:
    """Path of the program."""
    try:
        import imageio_ffmpeg
    except ImportError as error:
        raise ImportError(
            f"mp4 files need the package imageio-ffmpeg: {install('video')}; or write 'gif' files."
        ) from error
    return imageio_ffmpeg.get_ffmpeg_exe()


@contextlib.contextmanager
def _mp4(path: pathlib.Path, shape: tuple[int, ...], fps: float) -> Iterator[Add]:
    """Pipes frames to ffmpeg; without an error inside, the file is there at the end."""
    raw = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{shape[1]}x{shape[0]}", "-r", f"{fps:g}"]
    # yuv420p is the one pixel format that every player knows; the index in front lets browsers
    # start before they have loaded the whole file.
    coded = ["-c:v", "libx264", "-crf", "18", "-pix_fmt", "yuv420p", "-movflags", "+faststart"]
    command = [_ffmpeg(), "-v", "error", "-y", *raw, "-i", "pipe:0", *coded, f"file:{path}"]
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=errors
        )
        pipe = process.stdin
        assert pipe

        def add(frame: np.ndarray) -> None:
            with contextlib.suppress(BrokenPipeError):  # One that has ended says why at the end.
                pipe.write(frame.tobytes())

        try:
            yield add
        except BaseException:
            process.kill()
            raise
        finally:
            with contextlib.suppress(BrokenPipeError):
                process.communicate()
            code = process.wait()
        if code:
            errors.seek(0)
            reason = errors.read().decode(errors="replace").strip() or f"exit code {code}"
            raise RuntimeError(f"ffmpeg could not write {path.name}: {reason}")


@contextlib.contextmanager
def _gif(file: pathlib.Path | io.BytesIO, shape: tuple[int, ...], fps: float) -> Iterator[Add]:
    """Keeps the frames until the end, as the format needs them all."""
    from PIL import Image

    frames: list[Image.Image] = []
    # As it would be written: a third of the memory.
    palette = {"mode": "P", "palette": Image.Palette.ADAPTIVE}
    yield lambda frame: frames.append(Image.fromarray(frame).convert(**palette))
    # Gif counts in hundredths of a second: rounding the sums keeps the length right.
    ends = np.round(100 / fps * np.arange(len(frames) + 1))
    durations = [10 * int(d) for d in np.diff(ends)]
    how: dict[str, Any] = {"save_all": True, "duration": durations, "loop": 0}
    frames[0].save(file, "GIF", append_images=frames[1:], **how)
