"""Runs of neighbouring rows, which never go beyond a chunk."""

from collections.abc import Iterable

import numpy as np

Run = tuple[int, int]
"""Rows `first .. stop-1`."""


def runs_of(rows: np.ndarray, stride: int) -> list[Run]:
    """Runs that consist of these rows.

    Args:
        rows: int64 `[n]` in ascending order; a row that is there twice may be in two runs.
        stride: Rows of a chunk.
    """
    if not len(rows):
        return []
    breaks = np.flatnonzero((np.diff(rows) != 1) | (rows[1:] % stride == 0)) + 1
    firsts = rows[np.concatenate(([0], breaks))]
    stops = rows[np.concatenate((breaks - 1, [-1]))] + 1
    return list(zip(firsts.tolist(), stops.tolist(), strict=True))


def merged(runs: Iterable[Run], stride: int) -> list[Run]:
    """The same rows in ascending order, each of them once.

    Args:
        runs: Runs in any order, which may overlap.
        stride: Rows of a chunk.
    """
    result: list[Run] = []
    for first, stop in sorted(runs):
        begin, end = result[-1] if result else (-1, -1)
        if first < end or (first == end and first % stride):
            result[-1] = begin, max(end, stop)
        else:
            result.append((first, stop))
    return result
