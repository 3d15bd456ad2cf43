"""Several selectors, each with a share of the draws."""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from reverie.replay.rows import Table
from reverie.replay.selectors.base import KeepsState, Rows, Selector, TakesPriorities


class Mixture:
    """Every draw is made by one of several selectors, chosen at random by its share.

    Args:
        parts: Selector and share by name. Shares are positive and sum to one.

    Raises:
        ValueError: If the shares do not.
    """

    def __init__(self, parts: Mapping[str, tuple[Selector, float]]):
        shares = [share for _, share in parts.values()]
        positive = all(share > 0 for share in shares)
        if not positive or not math.isclose(sum(shares), 1.0, abs_tol=1e-6):
            raise ValueError(f"Shares of selectors must be positive and sum to 1, got {shares}.")
        self._names = tuple(parts)
        self._parts = tuple(selector for selector, _ in parts.values())
        self._taking = [part for part in self._parts if isinstance(part, TakesPriorities)]
        self._keeping = [part for part in self._parts if isinstance(part, KeepsState)]
        self._bounds = np.cumsum(shares)[:-1]
        self._drawn = np.zeros(len(shares), np.int64)

    def __len__(self) -> int:
        return len(self._parts[0])

    @property
    def nbytes(self) -> int:
        """Memory of all selectors in bytes."""
        return sum(getattr(part, "nbytes", 0) for part in self._parts)

    def connect(self, table: Table, length: int) -> None:
        for part in self._taking:
            part.connect(table, length)

    def insert(self, rows: Rows) -> None:
        for part in self._parts:
            part.insert(rows)

    def remove(self, rows: Rows) -> None:
        for part in self._parts:
            part.remove(rows)

    def sample(self, count: int, rng: np.random.Generator, *, probe: bool = False) -> Rows:
        chosen = np.searchsorted(self._bounds, rng.random(count), side="right")
        counts = np.bincount(chosen, minlength=len(self._parts))
        rows = np.empty(count, np.int64)
        for index, part in enumerate(self._parts):
            if counts[index]:
                rows[chosen == index] = part.sample(int(counts[index]), rng, probe=probe)
        if not probe:
            self._drawn += counts
        return rows

    def prioritize(self, runs: Sequence[tuple[int, np.ndarray]]) -> None:
        for part in self._taking:
            part.prioritize(runs)

    def stats(self) -> dict[str, float]:
        """`share/NAME` of the draws that each selector has made, and the figures of each."""
        total = max(1, int(self._drawn.sum()))
        drawn = zip(self._names, self._drawn.tolist(), strict=True)
        figures = {f"share/{name}": count / total for name, count in drawn}
        for part in self._taking:
            figures |= part.stats()
        return figures

    def state(self, exact: bool = False) -> dict[str, np.ndarray]:
        """What each selector keeps, and how often each one has drawn."""
        kept = {key: array for part in self._keeping for key, array in part.state(exact).items()}
        return kept | ({"mixture": self._drawn.copy()} if exact else {})

    def restore(self, state: Mapping[str, np.ndarray], exact: bool = False) -> None:
        if exact and len(drawn := state.get("mixture", ())) == len(self._parts):
            self._drawn[:] = drawn
        for part in self._keeping:
            part.restore(state, exact)
