"""What the suites on dm_control share."""

from typing import Any

import dm_env
import gymnasium
import numpy as np

UNLIMITED = 1e10
"""Bound that dm_control gives to actuators without limits."""


def action_space(control: dm_env.Environment) -> gymnasium.spaces.Box:
    """The space of the actions as float32, unbounded where actuators have no limits."""
    spec: Any = control.action_spec()
    low = np.where(spec.minimum > -UNLIMITED, spec.minimum, -np.inf).astype(np.float32)
    high = np.where(spec.maximum < UNLIMITED, spec.maximum, np.inf).astype(np.float32)
    return gymnasium.spaces.Box(low, high, dtype=np.float32)


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
