"""The vocabulary that every layer shares: spaces and the names of transition keys.

Nothing here imports jax or gymnasium, so environment workers stay small and the model can be
described without an environment.
"""

import dataclasses
from typing import Literal

import numpy as np

FLAGS = ("is_first", "is_last", "is_terminal")
"""Boolean keys that every transition holds (see `docs/architecture.md` for their meaning)."""

RESERVED = ("reward", *FLAGS, "consec")
"""Keys that an observation or action space may not use."""

LATENT_PREFIX = "latent/"
"""Transition keys that hold the agent's latent state, for example `latent/deter`."""

LOG_PREFIX = "log/"
"""Observation and info keys that become metrics and are hidden from the agent and replay."""


@dataclasses.dataclass(frozen=True)
class Space:
    """One array of an observation, an action or a latent, without its batch axes.

    Args:
        kind: `image` is uint8 of shape (height, width, channels); `discrete` holds class indices
            in 0..classes-1; `continuous` is float32.
        shape: Shape of one entry, `()` for a scalar.
        dtype: Name of the numpy dtype in transitions and replay.
        classes: Number of classes of every entry in C order; empty unless `discrete`.
    """

    kind: Literal["image", "discrete", "continuous"]
    shape: tuple[int, ...]
    dtype: str
    classes: tuple[int, ...] = ()

    def __post_init__(self):
        if self.kind == "discrete" and len(self.classes) != self.size:
            raise ValueError(
                f"A discrete space of shape {self.shape} needs {self.size} class counts, "
                f"got {self.classes}."
            )
        if self.kind == "image" and (len(self.shape) != 3 or self.dtype != "uint8"):
            raise ValueError(
                f"An image is uint8 of shape (h, w, c), got {self.dtype} {self.shape}."
            )

    @property
    def size(self) -> int:
        """Number of scalar entries."""
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def ndim(self) -> int:
        """Number of axes of one entry."""
        return len(self.shape)

    @property
    def width(self) -> int:
        """Number of features after encoding: one-hot per discrete entry, flattened."""
        return sum(self.classes) if self.kind == "discrete" else self.size

    def zeros(self, *batch: int) -> np.ndarray:
        """An all-zero array of this space with the given leading axes."""
        return np.zeros((*batch, *self.shape), self.dtype)
