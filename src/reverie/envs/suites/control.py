"""What the suites on dm_control share."""

from typing import Any

import dm_env
import numpy as np


def apply(control: dm_env.Environment, action: np.ndarray, times: int) -> tuple[Any, float]:
    """Takes the same action several times, or until the episode ends.

    Returns:
        The last time step, and the sum of the rewards.
    """
    found = control.step(action)
    total = float(found.reward)
    for _ in range(times - 1):
        if found.last():
            break
        found = control.step(action)
        total += float(found.reward)
    return found, total
