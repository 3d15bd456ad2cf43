"""What flows into a run, and who makes it."""

import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

from reverie.replay.shards.apart import Apart
from reverie.spaces import Space

if TYPE_CHECKING:
    from reverie.learner.policy import Params

Arrays = dict[str, np.ndarray]

ROUNDING = 1e-5
"""By so much continuous actions may lie beyond -1 and 1."""


class CollectorError(RuntimeError):
    """A collector gives what cannot be trained on."""


@dataclasses.dataclass(frozen=True)
class Rollout:
    """Consecutive steps of some streams.

    Args:
        steps: `[T, N, *shape]` by key: the observation, the reward received on the way into it,
            `is_first`, `is_last`, `is_terminal`, the action chosen after seeing it, and the
            latents that it was chosen from. Keys that begin with `log/` go to the logger alone.
        streams: Ids of the N streams, whose steps continue those of rollouts before; one that is
            new begins a stream.
        ended: Streams that have ended before these steps, without a last step of their episodes.
    """

    steps: Arrays
    streams: tuple[int, ...]
    ended: tuple[int, ...] = ()

    @property
    def size(self) -> int:
        """Number of steps, summed over the streams."""
        return self.steps["is_first"].size

    def rows(self) -> Iterator[Arrays]:
        """The steps [N, ...], one after the other."""
        for number in range(len(self.steps["is_first"])):
            yield {key: value[number] for key, value in self.steps.items()}


class Collector(Protocol):
    """A source of rollouts."""

    def collect(self) -> Rollout:
        """Waits for the next one; numbers of steps and of streams may differ from call to call.

        There may be no steps for up to `run.env_timeout` seconds.
        """
        ...

    def set_params(self, params: "Params") -> None:
        """Acts with these parameters from the next step on; is called before the first one."""
        ...

    def close(self) -> None:
        """Is called when the run ends."""
        ...


@runtime_checkable
class Resumable(Protocol):
    """A collector whose streams go on when the process that trains has been started again."""

    @property
    def counters(self) -> Mapping[str, Any]:
        """What has been returned so far, as plain values; belongs into every checkpoint."""
        ...

    @property
    def streams(self) -> Sequence[int]:
        """Those that go on after `restore`."""
        ...

    def restore(self, counters: Mapping[str, Any]) -> None:
        """Goes on where `counters` was taken; is called before the first `collect`."""
        ...

    def durable(self, counters: Mapping[str, Any]) -> None:
        """Is told, in another thread, that what was counted by them is saved."""
        ...


def complete(rollout: Rollout, latents: Mapping[str, Space]) -> Rollout:
    """Gives a rollout that has no latents those of an agent that remembers nothing.

    Updates replace them with fresh ones where they train.

    Args:
        rollout: Of a collector that acts without an agent, or with it.
        latents: Those of the agent.
    """
    missing = {key: space for key, space in latents.items() if key not in rollout.steps}
    if not missing or isinstance(rollout.steps, Apart):
        return rollout
    shape = rollout.steps["is_first"].shape
    # The index -1 stands for no class.
    nothing = {
        key: np.full((*shape, *space.shape), -int(space.kind == "discrete")).astype(space.dtype)
        for key, space in missing.items()
    }
    return dataclasses.replace(rollout, steps={**rollout.steps, **nothing})


class Inspector:
    """Passes on the rollouts of a collector of the user's, but for mistakes that would not be seen.

    Args:
        actions: Spaces of the actions.
        timeout: Seconds for which rollouts may hold no steps, one after the other; 0: no limit.
        clock: Returns the time in seconds.
    """

    def __init__(
        self,
        actions: Mapping[str, Space],
        timeout: float,
        clock: Callable[[], float] = time.monotonic,
    ):
        self._actions, self._timeout, self._clock = actions, timeout, clock
        self._since: float | None = None

    def __call__(self, rollout: Rollout) -> Rollout:
        """The rollout.

        Raises:
            CollectorError: If it is none, the latest ones hold no steps, or an action lies outside
                of its space.
        """
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
