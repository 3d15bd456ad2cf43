"""Selectors choose which sequences are drawn.

A sequence is named by the row number of its first step (see `Table`). Row numbers are small
and dense, so every selector can keep its state in plain arrays indexed by them: a whole batch is
inserted, removed or drawn with a handful of numpy calls.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

import numpy as np

from reverie.replay.rows import Table

Rows = np.ndarray
"""Row numbers, int64 `[n]`."""


@runtime_checkable
class Selector(Protocol):
    """What `Replay` asks of a selector. All calls come from one thread, in a fixed order.

    Nothing has to be inherited. A selector that knows more than which sequences there are has the
    methods of `TakesPriorities` as well, one whose draws go on exactly after a restart those of
    `KeepsState`.
    """

    def __len__(self) -> int:
        """Number of sequences that can be drawn."""
        ...

    def insert(self, rows: Rows) -> None:
        """Make sequences drawable, oldest first. None of them is drawable yet."""
        ...

    def remove(self, rows: Rows) -> None:
        """Make sequences undrawable. All of them are drawable."""
        ...

    def sample(self, count: int, rng: np.random.Generator, *, probe: bool = False) -> Rows:
        """Draw with replacement. A probe leaves no trace.

        Raises:
            IndexError: If there is nothing to draw.
        """
        ...


@runtime_checkable
class TakesPriorities(Protocol):
    """A selector that draws by what steps were like."""

    def connect(self, table: Table, length: int) -> None:
        """Called once, before anything else.

        Args:
            table: Tells which rows follow one another.
            length: Steps of a sequence.
        """
        ...

    def prioritize(self, runs: Sequence[tuple[int, np.ndarray]]) -> None:
        """Take new priorities of steps.

        Args:
            runs: Pairs of a row number and the float32 `[n]` priorities of the `n` consecutive
                rows from there on.
        """
        ...

    def stats(self) -> dict[str, float]:
        """Figures for the logs, besides those that replay knows by itself."""
        ...


@runtime_checkable
class KeepsState(Protocol):
    """A selector of which something survives a restart besides the sequences."""

    def state(self, exact: bool = False) -> dict[str, np.ndarray]:
        """Copies of it; may be empty.

        Args:
            exact: Whether to add what an exact `restore` needs.
        """
        ...

    def restore(self, state: Mapping[str, np.ndarray], exact: bool = False) -> None:
        """Take back a state of an earlier run, after all sequences that are left were inserted.

        Args:
            state: What `state` returned, of this class with other options, or of another one; what
                is not in it stays as it is.
            exact: Whether the same sequences are there under the same row numbers, so that all
                draws can be those that would have followed.

        Raises:
            ValueError: If an exact state has other sequences.
        """
        ...


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
