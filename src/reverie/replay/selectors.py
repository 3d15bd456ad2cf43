"""Selectors choose which sequences are drawn.

A sequence is named by the row number of its first step (see `Table`). Row numbers are small
and dense, so every selector can keep its state in plain arrays indexed by them: a whole batch is
inserted, removed or drawn with a handful of numpy calls.
"""

import abc
from collections.abc import Mapping, Sequence

import numpy as np

from reverie.replay.table import Table

Rows = np.ndarray
"""Row numbers, int64 `[n]`."""


class Selector(abc.ABC):
    """What `Replay` asks of a selector. All calls come from one thread, in a fixed order.

    One of your own needs the first four methods. The others are for selectors that know more than
    which sequences there are, or whose draws are to go on exactly after a restart.
    """

    @abc.abstractmethod
    def __len__(self) -> int:
        """Number of sequences that can be drawn."""

    @abc.abstractmethod
    def insert(self, rows: Rows) -> None:
        """Make sequences drawable, oldest first. None of them is drawable yet."""

    @abc.abstractmethod
    def remove(self, rows: Rows) -> None:
        """Make sequences undrawable. All of them are drawable."""

    @abc.abstractmethod
    def sample(self, count: int, rng: np.random.Generator, *, probe: bool = False) -> Rows:
        """Draw with replacement. A probe leaves no trace.

        Raises:
            IndexError: If there is nothing to draw.
        """

    @property
    def nbytes(self) -> int:
        """Memory that the selector uses."""
        return 0

    def connect(self, table: Table, length: int) -> None:  # noqa: B027
        """Called once, before anything else.

        Args:
            table: Tells which rows follow one another, for selectors that need to know.
            length: Steps of a sequence.
        """

    def prioritize(self, runs: Sequence[tuple[int, np.ndarray]]) -> None:  # noqa: B027
        """Take new priorities of steps.

        Args:
            runs: Pairs of a row number and the float32 `[n]` priorities of the `n` consecutive
                rows from there on.
        """

    def stats(self) -> dict[str, float]:
        """Figures for the logs, besides those that replay knows by itself."""
        return {}

    def state(self, exact: bool = False) -> dict[str, np.ndarray]:
        """Copies of what should survive a restart besides the sequences; may be empty.

        Args:
            exact: Whether to add what an exact `restore` needs.
        """
        return {}

    def restore(self, state: Mapping[str, np.ndarray], exact: bool = False) -> None:  # noqa: B027
        """Take back a state of an earlier run, after all sequences that are left were inserted.

        Args:
            state: What `state` returned, of this class with other options, or of another one; what
                is not in it stays as it is.
            exact: Whether the same sequences are there under the same row numbers, so that all
                draws can be those that would have followed.

        Raises:
            ValueError: If an exact state has other sequences.
        """


class Uniform(Selector):
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
        """Make sequences drawable."""
        end = self._count + len(rows)
        self._rows = grown(self._rows, end)
        known = len(self._places)
        self._places = grown(self._places, int(rows.max(initial=-1)) + 1)
        self._places[known:] = -1
        self._rows[self._count : end] = rows
        self._places[rows] = np.arange(self._count, end)
        self._count = end

    def remove(self, rows: Rows) -> None:
        """Make sequences undrawable."""
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
        """Draw with replacement.

        Raises:
            IndexError: If there is nothing to draw.
        """
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


def check_same(rows: Rows, others: Rows) -> None:
    """Check that these are the same rows in any order.

    Raises:
        ValueError: If they are not.
    """
    if not np.array_equal(np.sort(rows), np.sort(others)):
        raise ValueError("the saved selector has other sequences than the chunks")


def grown(array: np.ndarray, size: int) -> np.ndarray:
    """The array itself if it has `size` entries, else a copy with room for an eighth more.

    An eighth rather than twice: at millions of entries the spare room is memory that replay's
    budget counts, and the copies stay a small, amortised cost.
    """
    if size <= len(array):
        return array
    larger = np.empty(max(1024, size + size // 8), array.dtype)
    larger[: len(array)] = array
    return larger
