"""What really happened, in replay or in an environment, beside a dream."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np


class DreamError(RuntimeError):
    """A dream cannot begin or go on; the message says why and what to do."""


class Step(NamedTuple):
    """One step as it happened.

    Attributes:
        obs: Observations by key.
        reward: On the way into it.
        is_first: Whether it begins an episode.
        is_last: Whether the episode ends with it.
        is_terminal: Whether that is a termination.
        picture: What the environment shows people, as JPEG, if not what the agent sees.
    """

    obs: dict[str, np.ndarray]
    reward: float
    is_first: bool
    is_last: bool
    is_terminal: bool
    picture: bytes | None = None


def equal(one: Mapping[str, np.ndarray], other: Mapping[str, np.ndarray]) -> bool:
    """Whether two actions are the same."""
    return all(np.array_equal(one[key], other[key]) for key in other)
