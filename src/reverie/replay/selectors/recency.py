"""Sequences drawn by their age."""

from collections.abc import Mapping

import numpy as np

from reverie.replay.selectors.base import Rows, check_same, grown

_ROUNDS = 32
"""Draws that are repeated because they met removed sequences, before these are left out."""


class Recency:
    """Draws sequences with the weight `1 / age ** exponent`.

    The newest sequence has the age 1, the one inserted before it the age 2, and so on; a sequence
    that is removed leaves the ages of the others as they are.

    Sequences stand in the order of their insertion. An age is drawn by bisecting the running sum
    of the weights, which are the same at all times; if it is that of a removed sequence it is
    drawn again. Replay removes the oldest ones, so that there are few of those in between.

    Args:
        exponent: Exponent of the age; 0 draws uniformly.

    Raises:
        ValueError: If the exponent is negative.
    """

    def __init__(self, exponent: float = 1.0):
        if not exponent >= 0:
            raise ValueError(f"The exponent of recency is {exponent}, it must be at least 0.")
        self._exponent = exponent
        # Rows in the order of insertion, -1 where they were removed, and the place of each row.
        self._order = np.empty(0, np.int64)
        self._places = np.empty(0, np.int64)
        self._first, self._end = 0, 0
        self._count = 0
        # Sums of the weights of the ages 1, 2, 3, ...
        self._sums = np.empty(0)

    def __len__(self) -> int:
        return self._count

    @property
    def nbytes(self) -> int:
        """Memory of the order and of the sums in bytes."""
        return self._order.nbytes + self._places.nbytes + self._sums.nbytes

    def insert(self, rows: Rows) -> None:
        if self._end + len(rows) > len(self._order):
            self._make_room(len(rows))
        end = self._end + len(rows)
        self._places = grown(self._places, int(rows.max(initial=-1)) + 1)
        self._order[self._end : end] = rows
        self._places[rows] = np.arange(self._end, end)
        self._end = end
        self._count += len(rows)

    def remove(self, rows: Rows) -> None:
        """Make sequences undrawable; the fewer older ones remain, the better."""
        self._order[self._places[rows]] = -1
        self._count -= len(rows)
        while self._first < self._end:
            block = self._order[self._first : min(self._end, self._first + 4096)]
            live = np.argmax(block >= 0)
            if block[live] >= 0:
                self._first += int(live)
                return
            self._first += len(block)

    def sample(self, count: int, rng: np.random.Generator, *, probe: bool = False) -> Rows:
        if not self._count:
            raise IndexError("No sequence can be drawn yet.")
        sums = self._ages(self._end - self._first)
        rows = np.full(count, -1)
        for _ in range(_ROUNDS):
            missing = np.flatnonzero(rows < 0)
            if not len(missing):
                return rows
            # The first sum above the target; rounding may make the target as large as the last.
            ages = np.searchsorted(sums[:-1], rng.random(len(missing)) * sums[-1], side="right")
            rows[missing] = self._order[self._end - 1 - ages]
        missing = np.flatnonzero(rows < 0)
        rows[missing] = self._sample_live(len(missing), rng)
        return rows

    def state(self, exact: bool = False) -> dict[str, np.ndarray]:
        """The order of the rows with the gaps in it, if it is to be exact."""
        return {"recency": self._order[self._first : self._end].copy()} if exact else {}

    def restore(self, state: Mapping[str, np.ndarray], exact: bool = False) -> None:
        """Take the order over, if it is to be exact; else sequences are in it without gaps."""
        if exact and "recency" in state:
            order = state["recency"]
            places = np.flatnonzero(order >= 0)
            check_same(order[places], self._order[self._first : self._end])
            self._order, self._first, self._end = order.astype(np.int64), 0, len(order)
            self._places[order[places]] = places

    def _sample_live(self, count: int, rng: np.random.Generator) -> Rows:
        """Draw from a list of the remaining sequences, in O(n)."""
        places = np.flatnonzero(self._order[self._first : self._end] >= 0) + self._first
        # Relative to the newest one, so that a large exponent does not make all weights zero.
        ages = (self._end - places) / (self._end - places[-1])
        sums = np.cumsum(ages**-self._exponent)
        chosen = np.searchsorted(sums[:-1], rng.random(count) * sums[-1], side="right")
        return self._order[places[chosen]]

    def _ages(self, span: int) -> np.ndarray:
        if span > len(self._sums):
            ages = np.arange(1.0, max(1024, span + span // 8) + 1)
            self._sums = np.cumsum(ages**-self._exponent)
        return self._sums[:span]

    def _make_room(self, count: int) -> None:
        """Move the order to a larger array, without the places in front that are gone."""
        live = self._order[self._first : self._end]
        size = len(live) + count
        self._order = np.empty(max(1024, size + size // 8), np.int64)
        self._order[: len(live)] = live
        present = np.flatnonzero(live >= 0)
        self._places[live[present]] = present
        self._first, self._end = 0, len(live)
