"""Which arrays are images although no uint8 of height x width x channels, and other sizes."""

import dataclasses

import numpy as np
from gymnasium import spaces as gs
from PIL import Image

SIDE = 16
"""Shortest side of an array that is certainly an image."""

MOST_CHANNELS = 8
MOST_IMAGES = 16


@dataclasses.dataclass(frozen=True)
class Picture:
    """How an array of an observation becomes an image.

    Args:
        axes: Its axes in the order height, width, and those that become channels.
        shape: Height, width and channels of the image.
        scale: What its values are multiplied with.
        why: What it was recognized as.
    """

    axes: tuple[int, ...]
    shape: tuple[int, int, int]
    scale: float
    why: str


def picture(space: gs.Box) -> Picture | None:
    """How values of a space become images; None if they are none for sure, or are so already."""
    shape, kind = space.shape, np.dtype(space.dtype).kind
    if len(shape) < 2 or not space.low.size:
        return None
    top = {float(bound) for bound in (space.high.flat[0], space.high.max(), space.high.min())}
    if np.any(space.low != 0) or top not in ({1.0}, {255.0}):
        return None
    if top == {1.0} and kind != "f":
        return None
    found = _layout(shape, space.dtype == np.uint8)
    if found is None:
        return None
    axes, why = found
    channels = int(np.prod([shape[axis] for axis in axes[2:]], dtype=int))
    scale = 255.0 / top.pop()
    if space.dtype != np.uint8:
        why += f", {space.dtype} in 0..{255 / scale:g}"
    return Picture(axes, (shape[axes[0]], shape[axes[1]], channels), scale, why)


def resize(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A uint8 image [H, W, C] at another (height, width), any number of channels."""
    height, width = size
    if image.shape[2] == 3:
        small = Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR)
        return np.asarray(small)
    channels = [
        Image.fromarray(image[:, :, c]).resize((width, height), Image.Resampling.BILINEAR)
        for c in range(image.shape[2])
    ]
    return np.stack([np.asarray(channel) for channel in channels], -1)


def _layout(shape: tuple[int, ...], is_bytes: bool) -> tuple[tuple[int, ...], str] | None:
    """Order of the axes and what it is; None where it stays as it is."""
    colours = (1, 3, 4)
    # Only of bytes it is certain that they are no table of numbers.
    few = range(1, MOST_CHANNELS + 1) if is_bytes else colours
    if len(shape) == 2 and is_bytes and min(shape) >= SIDE:
        return (0, 1), "a gray image"
    if len(shape) == 3 and shape[0] in few and min(shape[1:]) >= SIDE:
        return (1, 2, 0), "an image with its channels in front"
    if len(shape) == 3 and not is_bytes and shape[2] in colours and min(shape[:2]) >= SIDE:
        return (0, 1, 2), "an image"
    if len(shape) == 4 and shape[0] <= MOST_IMAGES:
        if shape[3] in colours and min(shape[1:3]) >= SIDE:
            return (1, 2, 0, 3), f"a stack of {shape[0]} images"
        if shape[1] in colours and min(shape[2:]) >= SIDE:
            return (2, 3, 0, 1), f"a stack of {shape[0]} images with their channels in front"
    return None
