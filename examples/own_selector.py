"""A selector of your own: draws the newest sequences alone.

PYTHONPATH=examples reverie train --task CartPole-v1 --replay.selector own_selector:Newest
"""

import itertools

import numpy as np

COUNT = 1000


class Newest:
    """Draws the newest sequences, all of them equally likely.

    A sequence is named by a number, which is used again once the sequence is gone.
    """

    def __init__(self):
        self._rows: dict[int, None] = {}  # A set that keeps the order.

    def __len__(self):
        return len(self._rows)

    def insert(self, rows):
        """New sequences, oldest first."""
        self._rows.update(dict.fromkeys(rows.tolist()))

    def remove(self, rows):
        """Sequences that are gone."""
        for row in rows.tolist():
            del self._rows[row]

    def sample(self, count, rng, *, probe=False):
        """Sequences to train on; a probe is for a report and must leave no trace."""
        if not self._rows:
            raise IndexError("No sequence can be drawn yet.")
        newest = list(itertools.islice(reversed(self._rows), COUNT))
        return np.array(newest)[rng.integers(len(newest), size=count)]

    # Of use if a run that was killed is to go on exactly as it would have.

    def state(self, exact=False):
        """What is saved with replay."""
        return {"newest": np.array(list(self._rows), np.int64)} if exact else {}

    def restore(self, state, exact=False):
        """Takes it back; without an exact state the order is that of the chunks."""
        if exact and "newest" in state:
            self._rows = dict.fromkeys(state["newest"].tolist())
