"""From the last frames of an emulator to one small image."""

from collections import deque
from collections.abc import Sequence

import numpy as np
from PIL import Image

from reverie.config.sections.env import AtariConfig

LUMA = np.array([0.299, 0.587, 0.114], np.float32)
"""Weights of red, green and blue in a gray image (ITU-R BT.601)."""


class Frames:
    """Keeps the last RGB frames and combines them.

    Atari games draw some objects on every second frame only, so that a single frame misses them
    (Mnih et al., "Human-level control through deep reinforcement learning", 2015).

    Args:
        shape: Height and width of the frames.
        options: `pooling`, the number of frames that are kept, and how they become an image.
    """

    def __init__(self, shape: Sequence[int], options: AtariConfig):
        self._frames = deque(np.zeros((*shape, 3), np.uint8) for _ in range(options.pooling))
        self._combine = {"max": np.maximum.reduce, "mean": _mean}[options.aggregate]
        self._shrink = {"bilinear": bilinear, "area": area}[options.resize]
        self._size, self._gray = options.size, options.gray
        self.shape = (*self._size, 1 if self._gray else 3)

    def next(self) -> np.ndarray:
        """The oldest frame [height, width, 3], to be overwritten as the newest one."""
        self._frames.rotate(-1)
        return self._frames[-1]

    def spread(self) -> None:
        """Makes every frame equal to the newest one."""
        for frame in self._frames:
            frame[...] = self._frames[-1]

    def image(self) -> np.ndarray:
        """The combined image, a new uint8 array of `shape`."""
        return self._shrink(self._combine(list(self._frames)), self._size, self._gray)


def bilinear(frame: np.ndarray, size: tuple[int, int], gray: bool) -> np.ndarray:
    """Resizes the colours first and takes their gray value afterwards.

    Args:
        frame: uint8 [height, width, 3].
        size: Height and width of the result.
        gray: Whether the result has one channel in place of three.
    """
    height, width = size
    image = Image.fromarray(frame).resize((width, height), Image.Resampling.BILINEAR)
    # Pillow's own conversion rounds where a plain cast of the weighted sum would cut off.
    return np.array(image.convert("L"))[:, :, None] if gray else np.array(image)


def area(frame: np.ndarray, size: tuple[int, int], gray: bool) -> np.ndarray:
    """Averages the part of the frame under every pixel, border pixels by their fraction.

    Arguments as for `bilinear`. The gray value of an average is the average gray value, so gray
    images are averaged in one channel.
    """
    values = frame.astype(np.float32)
    if gray:
        values = (values @ LUMA)[:, :, None]
    rows = _average(values, size[0])
    columns = _average(rows.swapaxes(0, 1), size[1])
    return np.rint(columns.swapaxes(0, 1)).astype(np.uint8)


def _average(values: np.ndarray, count: int) -> np.ndarray:
    """Averages of `count` equal parts of the first axis, from sums up to their edges."""
    length = len(values)
    edges = np.linspace(0, length, count + 1)
    whole = np.minimum(edges.astype(int), length - 1)
    part = (edges - whole).astype(np.float32)[:, None, None]
    before = np.cumsum(values, axis=0) - values
    return np.diff(before[whole] + part * values[whole], axis=0) * np.float32(count / length)


def _mean(frames: list[np.ndarray]) -> np.ndarray:
    return np.rint(np.mean(frames, axis=0, dtype=np.float32)).astype(np.uint8)
