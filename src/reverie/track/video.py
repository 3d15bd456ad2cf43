"""Writes uint8 arrays as video and image files.

Videos are H.264 in mp4 when `imageio-ffmpeg` is installed (the `video` extra), which browsers and
chat tools play, and animated gif otherwise.
"""

import importlib.util
import io
import os
import pathlib
import subprocess

import numpy as np

from reverie.disk import whole_file
from reverie.extras import install

MIN_WIDTH = 256
"""Narrower frames are enlarged: video codecs halve colour resolution, which blurs 64x64 frames."""


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
    if format not in ("auto", "mp4", "gif"):
        raise ValueError(f"Unknown video format {format!r}: expected 'auto', 'mp4' or 'gif'.")
    if not fps > 0:
        raise ValueError(f"A video needs a positive frame rate, got fps={fps}.")
    frames = even_rgb(video)
    if format == "auto":
        format = "mp4" if importlib.util.find_spec("imageio_ffmpeg") else "gif"
    path = pathlib.Path(f"{os.fspath(path)}.{format}").expanduser()
    with whole_file(path) as partial:
        (_write_mp4 if format == "mp4" else _write_gif)(partial, frames, fps)
    return path


def even_rgb(video: np.ndarray) -> np.ndarray:
    """A uint8 video as [T, H, W, 3] of even sides, which H.264 asks for, and not too small.

    Raises:
        ValueError: The array is not such a video.
    """
    return _enlarge(_rgb(video, ndim=4))


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
    _write_gif(data, even_rgb(video), fps)
    return data.getvalue()


def _rgb(array: np.ndarray, ndim: int) -> np.ndarray:
    if array.dtype != np.uint8 or array.ndim != ndim or array.shape[-1] not in (1, 3, 4):
        axes = "[T, H, W, C]" if ndim == 4 else "[H, W, C]"
        raise ValueError(
            f"Expected uint8 {axes} with 1, 3 or 4 channels, got {array.dtype} {array.shape}."
        )
    if 0 in array.shape:
        raise ValueError(f"There is nothing to write: the array has shape {array.shape}.")
    return np.repeat(array, 3, axis=-1) if array.shape[-1] == 1 else array[..., :3]


def _enlarge(frames: np.ndarray) -> np.ndarray:
    """Repeats pixels of narrow frames, and pads to even sizes, which H.264 asks for."""
    _, height, width, _ = frames.shape
    factor = -(-MIN_WIDTH // width)
    frames = frames.repeat(factor, axis=1).repeat(factor, axis=2)
    odd = (0, height * factor % 2), (0, width * factor % 2)
    return np.ascontiguousarray(np.pad(frames, ((0, 0), *odd, (0, 0)), mode="edge"))


def _write_mp4(path: pathlib.Path, frames: np.ndarray, fps: float) -> None:
    try:
        import imageio_ffmpeg
    except ImportError as error:
        raise ImportError(
            f"mp4 files need the package imageio-ffmpeg: {install('video')}; or write 'gif' files."
        ) from error
    _, height, width, _ = frames.shape
    raw = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", f"{fps:g}"]
    # yuv420p is the one pixel format that every player knows; the index in front lets browsers
    # start before they have loaded the whole file.
    coded = ["-c:v", "libx264", "-crf", "18", "-pix_fmt", "yuv420p", "-movflags", "+faststart"]
    ffmpeg = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y"]
    command = [*ffmpeg, *raw, "-i", "pipe:0", *coded, str(path)]
    done = subprocess.run(command, input=frames.tobytes(), capture_output=True, check=False)
    if done.returncode:
        reason = done.stderr.decode(errors="replace").strip() or f"exit code {done.returncode}"
        raise RuntimeError(f"ffmpeg could not write {path.name}: {reason}")


def _write_gif(file: pathlib.Path | io.BytesIO, frames: np.ndarray, fps: float) -> None:
    from PIL import Image

    first, *rest = [Image.fromarray(frame) for frame in frames]
    # Gif counts in hundredths of a second: rounding the sums keeps the video's length right.
    ends = np.round(100 / fps * np.arange(len(frames) + 1))
    durations = [10 * int(d) for d in np.diff(ends)]
    first.save(file, "GIF", save_all=True, append_images=rest, duration=durations, loop=0)
