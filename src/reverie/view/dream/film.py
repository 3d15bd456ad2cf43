"""A dream as a film: pictures of dream and truth, and below them what was predicted."""

import pathlib
import tempfile
from collections.abc import Sequence
from typing import Any

import numpy as np

from reverie.track.encoding.video import VideoWriter
from reverie.track.pictures import style
from reverie.track.pictures.openloop import IMAGINED, SEEN
from reverie.track.pictures.panel import Panel
from reverie.view.content import decoded, visible
from reverie.view.dream.tree import Frame
from reverie.view.dream.truth import DreamError

SIDE, STRIP, GAP, HEAD, EDGE = 256, 56, 12, 26, 3
"""Sizes in pixels: of a picture, of lines, between both, of a line of text, of a frame."""

MOST_FRAMES, MOST_STRIPS, MOST_LINES = 5000, 6, 8


def film(frames: Sequence[Frame], format: str, fps: float) -> tuple[str, bytes]:
    """Draws frames one after the other; returns the extension of the file, and what it holds.

    The format is `mp4`, `gif`, or `auto` for the first that is possible here.

    Raises:
        DreamError: If there are too many frames, or it cannot be written here.
    """
    lines, panel = _lines(frames), Panel()
    columns = len(_pictures(frames[0]))
    width = max(columns, 2) * (SIDE + GAP) + GAP
    strips = [_strip(*one, width - 2 * GAP) for one in lines]
    with tempfile.TemporaryDirectory() as folder:
        try:
            with VideoWriter(pathlib.Path(folder) / "dream", fps, format) as writer:
                if len(frames) > (most := min(MOST_FRAMES, writer.most)):
                    raise DreamError(
                        f"A film as {writer.path.suffix[1:]} has up to {most:,} frames, and up to "
                        f"here there are {len(frames):,}. Go back to an earlier frame and save up "
                        "to there."
                    )
                for index, frame in enumerate(frames):
                    past = (width - 2 * GAP) * index // max(1, len(frames) - 1)
                    picture = _draw(frame, strips, past, columns)
                    said = {"value": float(frame.said.value)}
                    reward = float(frame.said.reward)
                    # What is predicted in place of 0 never is exactly that.
                    shown = reward if abs(reward) > 1e-3 else 0.0
                    writer.add(panel.frame(picture, shown, said))
        except (ImportError, RuntimeError) as error:
            raise DreamError(str(error)) from error
        return writer.path.suffix, writer.path.read_bytes()


def _lines(frames: Sequence[Frame]) -> list[tuple[str, np.ndarray, np.ndarray]]:
    """The observations that are no images, as far as there is room.

    Name, and lines [T, n] as they were dreamt and as they were, NaN where nobody knows.
    """
    first = frames[0].said.obs
    found = []
    for key in sorted(set(first) - set(_images(frames[0])))[:MOST_STRIPS]:
        told = np.stack([_flat(frame.said.obs[key]) for frame in frames])
        true = np.full_like(told, np.nan)
        for row, frame in enumerate(frames):
            if frame.known:
                true[row] = _flat(frame.known.step.obs[key])
        found.append((key, told, true))
    return found


def _flat(values: Any) -> np.ndarray:
    return np.ravel(values)[:MOST_LINES].astype(np.float64)


def _images(frame: Frame) -> list[str]:
    return sorted(key for key, x in frame.said.obs.items() if x.ndim == 3 and x.dtype == np.uint8)


def _pictures(frame: Frame) -> list[tuple[str, np.ndarray]]:
    """Pictures of a frame with what they show."""
    images, known = _images(frame), frame.known
    found = [(f"dream of {key}", frame.said.obs[key]) for key in images]
    if known:
        found += [(f"true {key}", known.step.obs[key]) for key in images]
        if known.step.picture is not None:
            found.append(("environment", decoded(known.step.picture)))
    return found


def _draw(frame: Frame, strips: Sequence[tuple[Any, Any]], past: int, columns: int) -> np.ndarray:
    """One picture of the film, [h, w, 3], with the strips drawn as far as `past`."""
    from PIL import Image, ImageDraw, ImageOps

    top = HEAD + (HEAD + SIDE + GAP if columns else 0)
    width = max(columns, 2) * (SIDE + GAP) + GAP
    sheet = Image.new("RGB", (width, top + len(strips) * (STRIP + GAP)), "white")
    draw = ImageDraw.Draw(sheet)
    state = f"asleep for {frame.horizon} steps" if frame.horizon else "awake"
    who = {"you": ", a person drives", "policy": ", the policy drives"}.get(frame.driver, "")
    draw.text((GAP, 6), f"step {frame.step}: {state}{who}", style.INK, font_size=14)
    for column, (name, image) in enumerate(_pictures(frame)):
        left = GAP + column * (SIDE + GAP)
        edge = IMAGINED if name.startswith("dream") and frame.horizon else SEEN
        draw.text((left, HEAD), name, style.MUTED, font_size=13)
        framed = ImageOps.expand(_square(image), EDGE, edge)
        sheet.paste(framed, (left - EDGE, 2 * HEAD - EDGE))
    for row, (empty, whole) in enumerate(strips):
        place = GAP, top + row * (STRIP + GAP)
        sheet.paste(empty, place)
        sheet.paste(whole.crop((0, 0, past + 1, whole.height)), place)
    return np.asarray(sheet)


def _square(image: np.ndarray) -> Any:
    from PIL import Image, ImageOps

    picture = Image.fromarray(np.ascontiguousarray(visible(image))).convert("RGB")
    smaller = max(picture.size) < SIDE
    how = Image.Resampling.NEAREST if smaller else Image.Resampling.BILINEAR
    return ImageOps.pad(picture, (SIDE, SIDE), how, "white")


def _strip(name: str, dream: np.ndarray, truth: np.ndarray, width: int) -> tuple[Any, Any]:
    """A strip without lines, and one with all of them: the truth gray and wide, the dream on it."""
    from PIL import Image, ImageDraw

    empty = Image.new("RGB", (width + 1, STRIP + 1), "#f4f6f8")
    whole = empty.copy()
    draw = ImageDraw.Draw(whole)
    both = np.concatenate([dream, truth])
    both = both[np.isfinite(both)]
    low, high = (both.min(), both.max()) if both.size else (0.0, 1.0)
    x = width * np.arange(len(dream)) / max(1, len(dream) - 1)
    for values, colour, thick in ((truth, style.GREY, 4), (dream, style.BLUE, 2)):
        for line in values.T:
            y = STRIP - 6 - (STRIP - 12) * (line - low) / max(high - low, 1e-6)
            points = [(float(x[i]), float(y[i])) for i in np.flatnonzero(np.isfinite(y))]
            if len(points) > 1:
                draw.line(points, fill=colour, width=thick)
    for picture in (empty, whole):
        ImageDraw.Draw(picture).text((6, 3), name, style.MUTED, font_size=12)
    return empty, whole
