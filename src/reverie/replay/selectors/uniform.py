"""Sequences drawn with equal chances."""

from collections.abc import Mapping

import numpy as np

from reverie.replay.selectors.base import Rows, check_same, grown


class Uniform:
    """Every sequence is equally likely. O(1) per draw, insert and removal, 16 bytes per sequence.

    The drawable rows fill the front of one array; a removed row is overwritten by one from the end.
    """

    def __init__(self):
        self._rows = np.empty(0, np.int64)
        self._places = np.empty(0, np.int64)
        self._count = 0

    def __len__(self) -> int:
        return self._count

    @property
    def nbytes(self) -> int:
        """Memory of the two index arrays in bytes."""
        return self._rows.nbytes + self._places.nbytes

    def insert(self, rows: Rows) -> None:
        end = self._count + len(rows)
        self._rows = grown(self._rows, end)
        known = len(self._places)
        self._places = grown(self._places, int(rows.max(initial=-1)) + 1)
        self._places[known:] = -1
        self._rows[self._count : end] = rows
        self._places[rows] = np.arange(self._count, end)
        self._count = end

    def remove(self, rows: Rows) -> None:
        end = self._count - len(rows)
        holes = self._places[rows]
        self._places[rows] = -1
        tail = self._rows[end : self._count]
        survivors = tail[self._places[tail] >= 0]
        holes = holes[holes < end]
        self._rows[holes] = survivors
        self._places[survivors] = holes
        self._count = end

    def holds(self, rows: Rows) -> np.ndarray:
        """Which of the sequences are drawable, bool `[n]`."""
        known = rows < len(self._places)
        return known & (self._places[np.where(known, rows, 0)] >= 0) if known.any() else known

    def sample(self, count: int, rng: np.random.Generator, *, probe: bool = False) -> Rows:
        if not self._count:
            raise IndexError("No sequence can be drawn yet.")
        return self._rows[rng.integers(self._count, size=count)]

    def state(self, exact: bool = False) -> dict[str, np.ndarray]:
        """The order of the rows, which decides what a random number draws, if it is to be exact."""
        return {"uniform": self._rows[: self._count].copy()} if exact else {}

    def restore(self, state: Mapping[str, np.ndarray], exact: bool = False) -> None:
        """Put the rows in the order that they had, if it is to be exact."""
        if exact and "uniform" in state:
            rows = state["uniform"]
            check_same(rows, self._rows[: self._count])
            self._rows[: self._count] = rows
            self._places[rows] = np.arange(self._count)
