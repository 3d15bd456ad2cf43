"""A tree of sums in plain arrays: draw indices in proportion to their weights."""

import numpy as np

BITS = 7
"""Every node has `2**BITS` children: few levels, and a level costs a handful of numpy calls."""

_FAN = 1 << BITS


class SumTree:
    """Non-negative weights of the indices 0, 1, 2, ..., all zero at first.

    Updates and draws of n entries take O(n log size) time, in about ten numpy calls per level:
    three levels up to 2.1 million indices, four up to 268 million. Sums are always computed from
    the children, so that no rounding errors pile up.
    """

    def __init__(self):
        # Level 0 has the weights themselves; the last one is a single block of children.
        self._levels = [np.zeros(_FAN)]

    @property
    def nbytes(self) -> int:
        """Memory of all levels in bytes."""
        return sum(level.nbytes for level in self._levels)

    @property
    def total(self) -> float:
        """Sum of all weights."""
        return float(self._levels[-1].sum())

    def __len__(self) -> int:
        """Indices that there is room for."""
        return len(self._levels[0])

    def get(self, indices: np.ndarray) -> np.ndarray:
        """Weights, float64 `[n]`, of indices that were set."""
        return self._levels[0][indices]

    def set(self, indices: np.ndarray, weights: np.ndarray) -> None:
        """Change weights.

        Args:
            indices: int64 `[n]`, each at most once; fastest when they are sorted.
            weights: `[n]`, finite and not negative.
        """
        if not len(indices):
            return
        self.grow(int(indices.max()) + 1)
        self._levels[0][indices] = weights
        nodes = indices
        for level, above in zip(self._levels, self._levels[1:], strict=False):
            nodes = nodes >> BITS
            # Neighbours share their parent; one that is left twice costs time and nothing else.
            nodes = nodes[np.concatenate(([True], nodes[1:] != nodes[:-1]))]
            above[nodes] = level.reshape(-1, _FAN)[nodes].sum(1)

    def draw(self, count: int, rng: np.random.Generator) -> np.ndarray:
        """Indices, int64 `[count]`, drawn independently in proportion to their weights.

        The total must not be zero; an index of weight zero is never drawn.
        """
        nodes = np.zeros(count, np.int64)
        # Another random number per level: dividing one up would run out of its digits.
        for level, fractions in zip(
            reversed(self._levels), rng.random((len(self._levels), count)), strict=True
        ):
            sums = level.reshape(-1, _FAN)[nodes].cumsum(1)
            targets = fractions * sums[:, -1]
            nodes = (nodes << BITS) + (sums <= targets[:, None]).sum(1)
        return nodes

    def grow(self, size: int) -> None:
        """Make room for this many indices."""
        if size <= len(self._levels[0]):
            return
        # Room for an eighth more, as everywhere in replay; whole blocks. No level more for it: how
        # many there are decides what is drawn, and so must not depend on when the tree grew.
        border = _FAN
        while border < size:
            border <<= BITS
        levels = [_padded(self._levels[0], min(size + size // 8, border))]
        while len(levels[-1]) > _FAN:
            sums = levels[-1].reshape(-1, _FAN).sum(1)
            levels.append(_padded(sums, len(sums)))
        self._levels = levels


def _padded(values: np.ndarray, size: int) -> np.ndarray:
    """The values, and zeros up to the end of a block beyond `size` of them."""
    return np.pad(values, (0, -(-size // _FAN) * _FAN - len(values)))
