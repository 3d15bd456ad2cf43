"""The vocabulary that every layer shares: spaces and the names of transition keys.

Nothing here imports jax or gymnasium, so environment workers stay small and the model can be
described without an environment.
"""

import dataclasses
from collections.abc import Mapping, Sequence
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

PICTURE = "log/video"
"""Transition key of filmed environments: a picture of each step, for the film alone."""

SUM = "/sum"
"""Behind a `log/` key: the sum over repeated steps, where the key itself has their largest."""

ACTION_MASK = "action_mask"
"""Observation key that says which classes of the only discrete action key are valid.

With `/KEY` behind it, it belongs to the action key KEY. In an info it means the same.
"""


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


def is_mask(key: str) -> bool:
    """Whether an observation key is an action mask by its name."""
    return key == ACTION_MASK or key.startswith(f"{ACTION_MASK}/")


def mask_keys(obs_space: Mapping[str, Space], act_space: Mapping[str, Space]) -> dict[str, str]:
    """The observation key that masks an action key, for every action key that has one.

    A mask has one boolean per class of the action, entry after entry: [n] for a single choice out
    of n, [2 + 3] for one out of 2 beside one out of 3. A mask [entries, n] fits where all entries
    have n classes.

    Raises:
        ValueError: If a mask belongs to no discrete action key, or is not of its shape.
    """
    discrete = [key for key, space in act_space.items() if space.kind == "discrete"]
    found: dict[str, str] = {}
    for name in filter(is_mask, obs_space):
        action = _masked_action(name, discrete)
        space, classes = obs_space[name], act_space[action].classes
        wide = (*act_space[action].shape, classes[0]) if len(set(classes)) == 1 else ()
        if space.dtype != "bool" or space.shape not in ((sum(classes),), wide):
            raise ValueError(
                f"The observation {name!r} is the mask of the action {action!r}: expected one "
                f"boolean for each of its {sum(classes)} classes, got {space}. Declare it as "
                f"MultiBinary({sum(classes)}), or rename it if it is no mask."
            )
        if action in found:
            raise ValueError(
                f"The observations {found[action]!r} and {name!r} are both the mask of the action "
                f"{action!r}. Keep one of them."
            )
        found[action] = name
    return found


def _masked_action(name: str, known: Sequence[str]) -> str:
    """Which of the discrete action keys a mask belongs to by its name."""
    key = name.removeprefix(ACTION_MASK).removeprefix("/")
    if key in known or (not key and len(known) == 1):
        return key or known[0]
    whose = f"the action {key!r}" if key else "the only discrete action"
    raise ValueError(
        f"The observation {name!r} is the mask of {whose}, which does not exist: the discrete "
        f"actions are {known}. Name it {ACTION_MASK}/KEY after one of them, or otherwise if it "
        "is no mask."
    )
