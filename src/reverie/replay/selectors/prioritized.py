"""Sequences drawn in proportion to the priorities of their steps."""

import weakref
from collections.abc import Mapping, Sequence

import numpy as np

from reverie.replay.chunk import Chunk
from reverie.replay.rows import Table
from reverie.replay.selectors.base import Rows
from reverie.replay.selectors.sumtree import SumTree
from reverie.replay.selectors.uniform import Uniform

_LARGEST = np.finfo(np.float32).max
_FINITE, _NEW = 1e100, 2.0**600
"""No finite weight is as large as the first. The second is in the tree in place of infinity: beside
it no finite weight has a chance, and sums of it are exact."""


class Prioritized:
    """Draws sequences in proportion to `maxfrac * max + (1 - maxfrac) * mean` of their steps.

    What is aggregated are `priority ** exponent` of the steps that a sequence trains. A step has
    the priority `initial` until it is given one. While there are sequences of infinite weight they
    are the ones that are drawn, all equally likely; if all weights are zero so are all sequences.

    With `zero_on_sample` the priorities of a sequence are zero from its draw until they are given
    anew, already for the next draw of the same batch. So a batch does not consist of copies of the
    one sequence that is new, and neither do the batches that are prefetched before its update.

    Inserts and new priorities only note which weights are out of date. The next draw computes them
    at once: O(log n) each, in numpy calls for all of them.

    Args:
        exponent: Exponent of the priorities; 0 draws uniformly.
        maxfrac: Weight of the largest step; the mean has the rest.
        initial: Priority of steps that have none; may be infinite.
        zero_on_sample: Whether drawing sets priorities to zero.
        context: Leading steps of a sequence that are not trained. They get no priority from its
            updates and have no part in its weight.

    Raises:
        ValueError: If a number is out of range.
    """

    def __init__(
        self,
        *,
        exponent: float = 0.8,
        maxfrac: float = 0.5,
        initial: float = np.inf,
        zero_on_sample: bool = True,
        context: int = 0,
    ):
        if not (exponent >= 0 and 0 <= maxfrac <= 1 and initial >= 0 and context >= 0):
            raise ValueError(
                f"exponent {exponent}, initial {initial} and context {context} must be at least 0 "
                f"and maxfrac {maxfrac} within 0 .. 1."
            )
        self._exponent = exponent
        self._maxfrac = maxfrac
        self._initial = float(self._raised(np.array([initial]))[0])
        self._zero = float(self._raised(np.zeros(1))[0])
        self._zero_on_sample = zero_on_sample
        self._context = context
        self._members = Uniform()
        # A tree, because what it draws does not depend on when weights were computed.
        self._tree = SumTree()
        # Sequences whose weights are out of date.
        self._stale: list[Rows] = []

    def __len__(self) -> int:
        return len(self._members)

    @property
    def nbytes(self) -> int:
        """Memory of the tree, the priorities and the list of sequences in bytes."""
        steps = sum(values.nbytes for values in self._steps.values())
        return self._tree.nbytes + self._members.nbytes + steps

    def connect(self, table: Table, length: int) -> None:
        """Learn which rows make up a sequence.

        Raises:
            ValueError: If the context leaves no step of a sequence.
        """
        if self._context >= length:
            raise ValueError(f"context is {self._context}, sequences have {length} steps only.")
        self._table = table
        self._length = length
        # Raised priorities of the rows of each chunk. Until now the selector can be pickled.
        self._steps = weakref.WeakKeyDictionary[Chunk, np.ndarray]()

    def insert(self, rows: Rows) -> None:
        self._members.insert(rows)
        self._stale.append(rows)

    def remove(self, rows: Rows) -> None:
        self._members.remove(rows)
        self._tree.set(rows, np.zeros(len(rows)))

    def sample(self, count: int, rng: np.random.Generator, *, probe: bool = False) -> Rows:
        """Draw with replacement; with `zero_on_sample` one after the other."""
        self._refresh()
        if probe or not self._zero_on_sample:
            return self._draw(count, rng)
        taken: list[int] = []
        while len(taken) < count:
            self._refresh()
            for row in self._draw(count - len(taken), rng).tolist():
                # Drawn by the weights before those in front of it were taken. These only fall, so
                # to accept it in the ratio of new to old makes it a draw by the new ones.
                if self._stale and row in np.concatenate(self._stale):
                    same = np.array([row])
                    before, after = self._tree.get(same)[0], self._aggregate(same)[0]
                    if after != before and rng.random() * before >= after:
                        break
                taken.append(row)
                chunk, offset = self._table.at(row)
                for piece in chunk.walk(offset + self._context, self._length - self._context):
                    zeros = np.full(piece.stop - piece.start, self._zero)
                    self._assign(piece.chunk, piece.start, zeros)
        return np.array(taken, np.int64)

    def prioritize(self, runs: Sequence[tuple[int, np.ndarray]]) -> None:
        """Take new priorities of steps; they count from the next draw on."""
        if not runs:
            return
        raised = self._raised(np.concatenate([values for _, values in runs]))
        begin = 0
        for row, values in runs:
            self._assign(*self._table.at(row), raised[begin : begin + len(values)])
            begin += len(values)

    def stats(self) -> dict[str, float]:
        """`priority_new`: share of the sequences with a step that has no finite priority yet."""
        self._refresh()
        return {"priority_new": self._tree.total // _NEW / max(1, len(self))}

    def state(self, exact: bool = False) -> dict[str, np.ndarray]:
        """The priorities of all steps, 4 bytes each, with the chunks that they belong to."""
        chunks = list(self._table)
        lines = [self._values(chunk)[: chunk.filled] for chunk in chunks]
        kept = {
            "priority": np.concatenate(lines) if lines else np.empty(0, np.float32),
            "priority_chunks": np.array([(c.serial, c.filled) for c in chunks]).reshape(-1, 2),
            "priority_exponent": np.array(self._exponent),
        }
        if exact:
            kept["priority_rows"] = self._members.state(exact)["uniform"]
            kept["priority_trees"] = np.array([len(self._tree)])
        return kept

    def restore(self, state: Mapping[str, np.ndarray], exact: bool = False) -> None:
        """Give the steps that are left their priorities.

        With `zero_on_sample` those that waited for their update have none, unless it is exact: it
        will not come.
        """
        if "priority" not in state:
            return
        exponent = float(state["priority_exponent"])
        if exact and exponent == self._exponent:
            values = state["priority"].astype(np.float32)
            self._members.restore({"uniform": state["priority_rows"]}, exact)
            self._tree.grow(max(state["priority_trees"].tolist()))
        elif exponent:
            values = self._raised(state["priority"].astype(np.float64) ** (1 / exponent))
            if self._zero_on_sample:
                values[values == self._zero] = self._initial
        else:
            return
        begin = 0
        for serial, rows in state["priority_chunks"].tolist():
            chunk = self._table.get(serial)
            if chunk is not None:
                self._assign(chunk, 0, values[begin : begin + rows][: chunk.filled])
            begin += rows

    def _raised(self, priorities: np.ndarray) -> np.ndarray:
        """The priorities to the power of the exponent; finite ones stay finite."""
        raised = np.power(priorities, self._exponent, dtype=np.float64)
        return np.where(np.isinf(priorities), raised, np.minimum(raised, _LARGEST))

    def _draw(self, count: int, rng: np.random.Generator) -> Rows:
        if self._tree.total:
            return self._tree.draw(count, rng)
        return self._members.sample(count, rng)

    def _assign(self, chunk: Chunk, offset: int, raised: np.ndarray) -> None:
        """Set consecutive rows of a chunk, and note the sequences that train them."""
        self._values(chunk)[offset : offset + len(raised)] = raised
        # Counted from the chunk's first row, sequences that start here train one of the steps.
        begin = offset - self._length + 1
        end = offset + len(raised) - self._context
        while True:
            first, stop = max(0, begin), min(end, chunk.starts)
            if first < stop:
                base = self._table.row(chunk)
                self._stale.append(np.arange(base + first, base + stop))
            if begin >= 0:
                return
            previous = self._table.before(chunk)
            if previous is None:
                return
            chunk, begin, end = previous, begin + previous.filled, end + previous.filled

    def _values(self, chunk: Chunk) -> np.ndarray:
        """Raised priorities of the rows of a chunk, which are the initial one at first."""
        if chunk not in self._steps:
            self._steps[chunk] = np.full(chunk.rows, self._initial, np.float32)
        return self._steps[chunk]

    def _refresh(self) -> None:
        """Compute the weights of all sequences that were noted."""
        if not self._stale:
            return
        rows = np.unique(np.concatenate(self._stale))
        self._stale = []
        rows = rows[self._members.holds(rows)]  # Others were removed since.
        if len(rows):
            self._tree.set(rows, self._aggregate(rows))

    def _aggregate(self, rows: Rows) -> np.ndarray:
        """Weights, float64 `[n]`, of sequences in ascending order."""
        # The steps of neighbouring sequences side by side: each sequence is a window of them.
        more = self._length - 1
        breaks = np.flatnonzero((np.diff(rows) != 1) | (rows[1:] % self._table.stride == 0)) + 1
        firsts = np.concatenate(([0], breaks))
        counts = np.diff(np.concatenate((firsts, [len(rows)])))
        lines: list[np.ndarray] = []
        for row, count in zip(rows[firsts].tolist(), counts.tolist(), strict=True):
            chunk, offset = self._table.at(row)
            pieces = chunk.walk(offset, count + more)
            lines.extend(self._values(p.chunk)[p.start : p.stop] for p in pieces)
        steps = np.concatenate(lines).astype(np.float64)
        steps[np.isinf(steps)] = _NEW  # Zero times infinity is not a number.
        places = np.arange(len(rows)) + self._context
        places += np.repeat(np.arange(len(counts)) * more, counts)
        width = self._length - self._context
        # Step by step: a running sum would be inexact after large values, and what numpy makes of a
        # matrix depends on how many sequences there are.
        windows = len(steps) - width + 1
        largest, total = steps[:windows].copy(), steps[:windows].copy()
        for begin in range(1, width):
            part = steps[begin : begin + windows]
            np.maximum(largest, part, out=largest)
            total += part
        weights = self._maxfrac * largest + (1 - self._maxfrac) * total / width
        weights[weights > _FINITE] = _NEW
        return weights[places]
