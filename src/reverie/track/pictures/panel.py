"""What happens in an episode, drawn below its pictures: return, reward and value."""

import collections
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from reverie.track.encoding.video import wide_rgb
from reverie.track.pictures import style

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw

MIN_WIDTH = 384
"""Smaller pictures are enlarged, so that there is room for the text."""

TEXT, STRIP, GAP, SIDE = 26, 46, 8, 12
"""Heights of a line of text and of a plot, and distances, in pixels."""

STEP = 3
"""Pixels from one step to the next."""

FINE = 2
"""The panel is drawn so many times larger, for smooth lines."""


class Panel:
    """Draws the newest steps of an episode below its pictures."""

    def __init__(self, title: str = ""):
        self._title = title
        self._steps = -1
        self._score = 0.0
        self._history: dict[str, collections.deque[float]] = {}
        self._range: dict[str, tuple[float, float]] = {}

    def frame(
        self, picture: np.ndarray, reward: float, expected: Mapping[str, float]
    ) -> np.ndarray:
        """The next step as an image.

        Args:
            picture: uint8 [H, W, C].
            reward: Received on the way there.
            expected: What the agent expects there, as `Policy.expect` names it; may be empty.
        """
        self._steps += 1
        self._score += reward
        values = {"value": expected.get("value"), "reward": reward, "pred": expected.get("reward")}
        for name, value in values.items():
            if value is not None:
                self._remember(name, float(value))
        picture = wide_rgb(picture[None], MIN_WIDTH)[0]
        return np.concatenate([picture, self._draw(picture.shape[1])], 0)

    def _remember(self, name: str, value: float) -> None:
        self._history.setdefault(name, collections.deque(maxlen=1024)).append(value)
        name = "reward" if name == "pred" else name
        low, high = self._range.get(name, (0.0, 0.0) if name == "reward" else (value, value))
        if math.isfinite(value):
            self._range[name] = min(low, value), max(high, value)

    def _draw(self, width: int) -> np.ndarray:
        from PIL import Image, ImageDraw

        plots = ["value"] * ("value" in self._history) + ["reward"]
        height = TEXT + len(plots) * (STRIP + GAP)
        image = Image.new("RGB", (FINE * width, FINE * height), "white")
        draw = ImageDraw.Draw(image)
        right = width - SIDE - _width(self._title)
        _write(draw, (right, 5), self._title, style.MUTED)
        text = f"step {self._steps:,}    return {self._score:.5g}"
        if SIDE + _width(text) < right - SIDE:
            _write(draw, (SIDE, 5), text, style.INK)
        for number, name in enumerate(plots):
            self._plot(draw, name, TEXT + number * (STRIP + GAP), width)
        return np.asarray(image.resize((width, height), Image.Resampling.BOX))

    def _plot(self, draw: "ImageDraw", name: str, top: int, width: int) -> None:
        low, high = self._range.get(name, (0.0, 0.0))
        bottom, left = top + STRIP, SIDE + 104
        # What hardly moves is to look like it.
        least = 0.1 if name == "reward" and not any(self._history[name]) else 1e-9
        room = max(high - low, least, 0.1 * max(abs(low), abs(high)))
        box = [FINE * x for x in (left, top, width - SIDE, bottom)]
        draw.rectangle(box, fill="#f4f6f8")
        newest = self._history[name][-1]
        show = lambda x: f"{0.0 if abs(x) < room / 1000 else x:.3g}"  # noqa: E731
        _write(draw, (SIDE, top + 4), f"{name} {show(newest)}", style.INK)
        shown = int((width - SIDE - left - 4) / STEP)
        at = lambda index, value: (  # noqa: E731
            FINE * (left + 2 + STEP * index),
            FINE * (bottom - 4 - (STRIP - 8) * (value - low) / room),
        )
        if low < 0 < high or name == "reward":
            draw.line([*at(0, 0.0), FINE * (width - SIDE), at(0, 0.0)[1]], style.GREY, 1)
        if name == "reward":
            for index, value in enumerate(_last(self._history["reward"], shown)):
                draw.line([*at(index, 0.0), *at(index, value)], style.INK, FINE * (STEP - 1))
            if "pred" in self._history:
                text = f"expected {show(self._history['pred'][-1])}"
                _write(draw, (SIDE, top + 24), text, style.ORANGE, size=11)
        line, color = ("value", style.BLUE) if name == "value" else ("pred", style.ORANGE)
        points = [at(i, x) for i, x in enumerate(_last(self._history.get(line, ()), shown))]
        if len(points) > 1:
            draw.line(points, color, FINE * 2, joint="curve")


def _write(draw: "ImageDraw", at: tuple[float, int], text: str, color: str, size=14) -> None:
    draw.text((FINE * at[0], FINE * at[1]), text, color, style.font(FINE * size))


def _last(values: Any, count: int) -> list[float]:
    """The newest values, without those that cannot be drawn."""
    return [x if math.isfinite(x) else 0.0 for x in list(values)[-count:]]


def _width(text: str) -> float:
    return style.font(FINE * 14).getlength(text) / FINE
