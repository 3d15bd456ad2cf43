"""Video and image files."""

import re
import subprocess

import numpy as np
import pytest
from PIL import Image, ImageSequence

from reverie.track.encoding.names import file_name
from reverie.track.encoding.video import write_image, write_video
from reverie.track.logger import Logger
from reverie.track.sinks.media import MediaSink


def clip(shape=(6, 20, 300, 3)):
    """A dark video in which a bright block moves to the right."""
    video = np.full(shape, 20, np.uint8)
    for t in range(len(video)):
        video[t, :, 40 * t : 40 * (t + 1)] = 220
    return video


def read_gif(path):
    with Image.open(path) as image:
        frames, durations = [], []
        for frame in ImageSequence.Iterator(image):
            frames.append(np.asarray(frame.convert("RGB")))
            durations.append(frame.info["duration"])
        return np.stack(frames), durations


def read_mp4(path, width):
    """Decodes a video; also returns what ffmpeg says about it."""
    exe = pytest.importorskip("imageio_ffmpeg").get_ffmpeg_exe()
    command = [exe, "-i", str(path), "-f", "rawvideo", "-pix_fmt", "rgb24", "pipe:1"]
    run = subprocess.run(command, capture_output=True, check=True)
    frames = np.frombuffer(run.stdout, np.uint8)
    size = re.search(rf"{width}x(\d+)", run.stderr.decode())
    assert size is not None, run.stderr.decode()
    return frames.reshape(-1, int(size[1]), width, 3), run.stderr.decode()


def test_gif_holds_every_frame(tmp_path):
    path = write_video(tmp_path / "deep/folder/clip", clip(), fps=15, format="gif")
    assert path == tmp_path / "deep/folder/clip.gif"
    frames, durations = read_gif(path)
    assert frames.shape == (6, 20, 300, 3)
    assert np.abs(frames.astype(int) - clip()).max() <= 2
    assert durations == [70, 60, 70, 70, 60, 70]


def test_mp4_holds_every_frame(tmp_path):
    pytest.importorskip("imageio_ffmpeg")
    path = write_video(tmp_path / "clip", clip(), fps=12.5, format="mp4")
    assert path == tmp_path / "clip.mp4"
    frames, about = read_mp4(path, 300)
    assert frames.shape == (6, 20, 300, 3)
    assert np.abs(frames.astype(int) - clip()).mean() < 5
    assert "12.50 fps" in about
    assert "Video: h264" in about
    assert "yuv420p" in about


def test_auto_is_gif_without_imageio_ffmpeg(tmp_path, monkeypatch):
    import importlib.util

    find = importlib.util.find_spec
    hidden = lambda name, *rest: None if name == "imageio_ffmpeg" else find(name, *rest)  # noqa: E731
    monkeypatch.setattr(importlib.util, "find_spec", hidden)
    assert write_video(tmp_path / "clip", clip()).suffix == ".gif"


def test_auto_is_mp4_with_imageio_ffmpeg(tmp_path):
    pytest.importorskip("imageio_ffmpeg")
    assert write_video(tmp_path / "clip", clip()).suffix == ".mp4"


def test_a_name_with_the_time_of_day_is_no_protocol(tmp_path, monkeypatch):
    pytest.importorskip("imageio_ffmpeg")
    monkeypatch.chdir(tmp_path)
    assert write_video("film-16:30", clip(), format="mp4").exists()


def test_mp4_without_its_package_says_what_to_install(tmp_path, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    with pytest.raises(ImportError, match=r"pip install -c constraints.txt -e .\.\[video\]"):
        write_video(tmp_path / "clip", clip(), format="mp4")


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_small_and_odd_frames_are_enlarged_sharply(tmp_path, channels):
    video = np.zeros((1, 3, 5, channels), np.uint8)
    video[:, 1, 2] = 255
    frames, _ = read_gif(write_video(tmp_path / "small", video, format="gif"))
    assert frames.shape == (1, 156, 260, 3)
    assert (frames[:, 52:104, 104:156] == 255).all()
    assert (frames[:, :52] == 0).all()
    wide = np.zeros((1, 7, 301, channels), np.uint8)
    frames, _ = read_gif(write_video(tmp_path / "wide", wide, format="gif"))
    assert frames.shape == (1, 8, 302, 3)


def test_mp4_of_odd_frames(tmp_path):
    pytest.importorskip("imageio_ffmpeg")
    path = write_video(tmp_path / "odd", np.zeros((2, 33, 301, 1), np.uint8), format="mp4")
    assert read_mp4(path, 302)[0].shape == (2, 34, 302, 3)


@pytest.mark.parametrize(("channels", "mode"), [(1, "RGB"), (3, "RGB"), (4, "RGB")])
def test_images_are_written_exactly(tmp_path, channels, mode):
    image = np.random.default_rng(0).integers(0, 256, (7, 9, channels), np.uint8)
    path = write_image(tmp_path / "folder/picture.v1", image)
    assert path == tmp_path / "folder/picture.v1.png"
    with Image.open(path) as file:
        assert file.mode == mode
        pixels = np.asarray(file)
    expected = np.repeat(image, 3, -1) if channels == 1 else image[..., :3]
    assert (pixels == expected).all()


def test_a_failed_video_leaves_no_file_behind_that_name(tmp_path, monkeypatch):
    ffmpeg = pytest.importorskip("imageio_ffmpeg")
    write_video(tmp_path / "clip", clip(), format="mp4")
    before = (tmp_path / "clip.mp4").read_bytes()

    monkeypatch.setattr(ffmpeg, "get_ffmpeg_exe", lambda: "false")
    with pytest.raises(RuntimeError, match=r"could not write \.clip\.partial\.mp4: exit code 1"):
        write_video(tmp_path / "clip", clip()[:2], format="mp4")
    assert (tmp_path / "clip.mp4").read_bytes() == before


@pytest.mark.parametrize(
    "array",
    [np.zeros((4, 4, 3), np.uint8), np.zeros((2, 4, 4, 3)), np.zeros((2, 4, 4, 2), np.uint8)],
)
def test_other_arrays_are_refused(tmp_path, array):
    with pytest.raises(ValueError, match=r"uint8 \[T, H, W, C\]"):
        write_video(tmp_path / "clip", array)


def test_other_arguments_are_refused(tmp_path):
    with pytest.raises(ValueError, match="format 'avi'"):
        write_video(tmp_path / "clip", clip(), format="avi")
    with pytest.raises(ValueError, match="fps=0"):
        write_video(tmp_path / "clip", clip(), fps=0)
    with pytest.raises(ValueError, match="nothing to write"):
        write_video(tmp_path / "clip", clip()[:0])
    with pytest.raises(ValueError, match=r"uint8 \[H, W, C\]"):
        write_image(tmp_path / "image", clip())


def test_the_sink_names_files_by_metric_and_step(tmp_path):
    with Logger([MediaSink(tmp_path, fps=10)], lambda: 1234) as logger:
        video = {"openloop/image": clip(), "loss": 1.0, "text": "abc"}
        logger.add(video, prefix="report")
        logger.add({"a b/../c": clip()[0]})
    names = sorted(str(p.relative_to(tmp_path).with_suffix("")) for p in tmp_path.rglob("*.*"))
    odd = f"images/{file_name('a b/../c')}_000001234"
    assert names == [odd, "videos/report-openloop-image_000001234"]
