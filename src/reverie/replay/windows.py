"""Maxima and sums over sliding windows."""

from collections.abc import Callable

import numpy as np

Combine = Callable[[np.ndarray, np.ndarray], np.ndarray]


def sliding_max(values: np.ndarray, width: int) -> np.ndarray:
    """Largest value of every `width` neighbours: `[n]` to `[n - width + 1]`."""
    return _sliding(values, width, np.maximum)


def sliding_sum(values: np.ndarray, width: int) -> np.ndarray:
    """Sum of every `width` neighbours: `[n]` to `[n - width + 1]`.

    Sums are added up from sums of windows half as wide. Differences of a running sum would be
    inexact after large values and undefined after an infinite one.
    """
    return _sliding(values, width, np.add)


def _sliding(values: np.ndarray, width: int, combine: Combine) -> np.ndarray:
    """Windows of the sizes 1, 2, 4, ... put together to the width: 2 log2(width) calls."""
    count = len(values) - width + 1
    done, result, size = 0, None, 1
    while True:
        if width & size:
            part = values[done : done + count]
            result = part if result is None else combine(result, part)
            done += size
        if done == width and result is not None:
            return result
        values = combine(values[:-size], values[size:])
        size *= 2
