"""Steps on two ways: what the learner looks at, and what only replay needs."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from reverie.spaces import FLAGS, LOG_PREFIX

Arrays = Mapping[str, np.ndarray]


class Apart(dict):
    """What there is to look at of steps; all that is stored of them is elsewhere.

    Args:
        seen: `[T, N]` by key: reward, flags, and what is logged.
        stored: Reference to an object with all keys that replay stores.
    """

    def __init__(self, seen: Arrays, stored: Any):
        super().__init__(seen)
        self.stored = stored


def parted(steps: Arrays) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """What is seen and what is stored of steps, which share reward and flags."""
    logged = {key: value for key, value in steps.items() if key.startswith(LOG_PREFIX)}
    seen = {key: steps[key] for key in ("reward", *FLAGS)} | logged
    return seen, {key: value for key, value in steps.items() if key not in logged}
