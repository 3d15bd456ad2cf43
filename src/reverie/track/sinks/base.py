"""What a sink is."""

from collections.abc import Mapping
from typing import Protocol

import numpy as np

Value = int | float | str | np.ndarray
"""A finished metric: a number, a text, a uint8 image [H, W, C] or a uint8 video [T, H, W, C]."""


class Sink(Protocol):
    """A place that metrics go to. `Logger` calls it from one thread only."""

    def write(self, step: int, metrics: Mapping[str, Value]) -> None:
        """Takes everything that was logged since the last write; ignores what it cannot hold."""
        ...

    def episode(self, step: int, metrics: Mapping[str, Value]) -> None:
        """Takes the `.../episode/...` numbers of one finished episode, at the moment it ends."""
        ...

    def note(self, text: str) -> None:
        """Takes a message for the person who watches the run."""
        ...

    def close(self) -> None:
        """Finishes what is open. A second call does nothing."""
        ...
