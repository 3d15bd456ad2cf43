"""What flows into a run, and who makes it."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

from reverie.replay.shards.apart import Apart
from reverie.spaces import Space

if TYPE_CHECKING:
    from reverie.learner.policy import Params

Arrays = dict[str, np.ndarray]


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
