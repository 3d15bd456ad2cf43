"""Mistakes of a collector of the user's that training would not show."""

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from reverie.actors.collector import Collector, Rollout
from reverie.spaces import Space

if TYPE_CHECKING:
    from reverie.learner.policy import Params

ROUNDING = 1e-5
"""By so much continuous actions may lie beyond -1 and 1."""


class CollectorError(RuntimeError):
    """A collector gives what cannot be trained on."""


class Inspected:
    """Passes on what a collector makes, but for mistakes that would not be seen.

    Args:
        collector: Of the user.
        actions: Spaces of the actions.
        timeout: Seconds for which rollouts may hold no steps, one after the other; 0: no limit.
        clock: Returns the time in seconds.
    """

    def __init__(
        self,
        collector: Collector,
        actions: Mapping[str, Space],
        timeout: float,
        clock: Callable[[], float] = time.monotonic,
    ):
        self._collector, self._actions = collector, actions
        self._timeout, self._clock = timeout, clock
        self._since: float | None = None

    def collect(self) -> Rollout:
        """The collector's next rollout.

        Raises:
            CollectorError: If it is none, the latest ones hold no steps, or an action lies outside
                of its space.
        """
        rollout = self._collector.collect()
        if not isinstance(rollout, Rollout):
            raise CollectorError(
                f"collect() of the collector returned a {type(rollout).__name__}: expected a "
                f"{Rollout.__module__}.{Rollout.__name__}."
            )
        now = self._clock()
        if rollout.size:
            self._since = None
        elif self._since is None:
            self._since = now
        elif 0 < self._timeout < now - self._since:
            raise CollectorError(
                f"collect() of the collector has returned no steps for {now - self._since:.0f} "
                "seconds, which is longer than run.env_timeout."
            )
        for key, space in self._actions.items():
            _check_action(key, np.asarray(rollout.steps.get(key, ())), space)
        return rollout

    def set_params(self, params: "Params") -> None:
        """Passes them on."""
        self._collector.set_params(params)

    def close(self) -> None:
        """Closes the collector."""
        self._collector.close()

    def __getattr__(self, name: str) -> Any:
        """What a collector may have besides: `metrics` and `advice`."""
        return getattr(self._collector, name)


def _check_action(key: str, values: np.ndarray, space: Space) -> None:
    if values.shape[2:] != space.shape:
        return  # Replay says what it expects.
    low, high = -1 - ROUNDING, np.array(1 + ROUNDING)
    if space.kind == "discrete":
        low, high = 0, np.reshape(space.classes, space.shape) - 1
    outside = ~((values >= low) & (values <= high))  # A NaN too.
    if outside.any():
        what = f"0 to {high.max()}" if space.kind == "discrete" else "-1 to 1, as the model sees it"
        raise CollectorError(
            f"The collector gives {values[outside][0]} as the action {key!r}: expected {what}."
        )
