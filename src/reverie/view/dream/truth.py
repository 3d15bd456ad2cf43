"""What a dream is compared with, where it is known: replay, or an environment."""

from collections.abc import Mapping
from typing import NamedTuple, Protocol

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


class Truth(Protocol):
    """Knows what follows on actions.

    Attributes:
        name: What it is.
        note: What the user should know of it.
    """

    name: str
    note: str

    def after(
        self, history: list[dict[str, np.ndarray]], action: Mapping[str, np.ndarray], last: Step
    ) -> Step | None:
        """The step that follows on actions since the first one; None where nobody knows.

        Args:
            history: The actions up to the last step.
            action: What is done there.
            last: The last step.
        """
        ...

    def close(self) -> None:
        """Lets go of what it holds."""
        ...
