"""Checks that values are numbers inside their bounds, fast when they are."""

from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces as gs

from reverie.envs.flat.leaves import LARGEST
from reverie.spaces import Space

_WIDER = "Declare the Box with wider bounds, or set env.gym.bounds (env.dm, env.envpool) to ignore."

Check = Callable[[Any], str]
"""Says what is wrong with a value; empty when nothing is."""


def observation_check(space: gs.Box | None) -> Check:
    """Checks a continuous observation: no NaN, not infinite, inside the bounds of a space, if any.

    -inf marks a missing value and is always allowed.
    """
    low, high = _with_slack(space) if space is not None else (-np.inf, LARGEST)
    return lambda array: (
        "" if ((array >= low) & (array <= high)).all() else _explain(array, low, high)
    )


def action_check(space: gymnasium.Space) -> Check:
    """Checks a flat action: present, of its shape, numbers (which are cut) or class indices."""
    shape = tuple(space.shape or ())
    if isinstance(space, gs.Box):
        return _shaped(shape, lambda value: not np.isnan(value).any(), "finite numbers")
    classes: Any = 2
    if isinstance(space, gs.Discrete | gs.MultiDiscrete):
        classes = space.n if isinstance(space, gs.Discrete) else space.nvec
    return _shaped(
        shape,
        lambda value: np.all((value >= 0) & (value < classes)),
        f"class indices below {classes}",
    )


def mask_check(action: Space) -> Check:
    """Checks that a mask leaves at least one class to every entry of an action."""
    starts = np.cumsum([0, *action.classes[:-1]])

    def check(mask: np.ndarray) -> str:
        some = np.logical_or.reduceat(mask.ravel(), starts)
        if some.all():
            return ""
        entry = f" in entry {int(np.argmin(some))}" if len(starts) > 1 else ""
        return (
            f"allows no class{entry}. Leave at least one valid wherever an action follows: only "
            "the mask of an episode's last observation is ignored."
        )

    return check


def _shaped(shape: tuple[int, ...], fine: Callable[[Any], Any], wanted: str) -> Check:
    def check(value: Any) -> str:
        if value is None:
            return "is missing."
        if np.shape(value) != shape:
            return f"has shape {np.shape(value)}, expected {shape}."
        return "" if fine(value) else f"is {value}, expected {wanted}."

    return check


def _with_slack(space: gs.Box) -> tuple[np.ndarray, np.ndarray]:
    # A bound and a value of float64 may round to different float32 numbers.
    low, high = space.low.astype(np.float64), space.high.astype(np.float64)
    slack = [1e-5 * (1 + np.abs(np.where(np.isfinite(bound), bound, 0))) for bound in (low, high)]
    # Infinity is no observation where there is no upper bound.
    low, high = low - slack[0], np.minimum(high + slack[1], LARGEST)
    with np.errstate(over="ignore"):
        return low.astype(np.float32), high.astype(np.float32)


def _explain(array: np.ndarray, low: Any, high: Any) -> str:
    """The first entry that is wrong, or nothing: a missing value is below its bound."""
    array = np.asarray(array)
    present = ~np.isneginf(array)
    for wrong, what, bound, mend in (
        (np.isnan(array), "is NaN", None, "Return finite numbers, or -inf for a missing value."),
        (np.isposinf(array), "is infinite in float32", None, "Return smaller numbers."),
        (present & (array > high), "is above its upper bound", high, _WIDER),
        (present & (array < low), "is below its lower bound", low, _WIDER),
    ):
        if wrong.any():
            where = tuple(int(i) for i in np.argwhere(wrong)[0])
            place = f" at index {list(where)}" if where else ""
            if bound is not None:
                what += f" {np.broadcast_to(bound, array.shape)[where]:.5g}"
            return f"{what}{place}: the value is {array[where]}. {mend}"
    return ""
