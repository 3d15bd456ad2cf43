"""Saving and restoring everything that a run has reached."""

import dataclasses
import time
import uuid
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np

from reverie.disk import explain_full_disk
from reverie.learner import Checkpointer, CheckpointError, checkpoint, transfer
from reverie.replay import Replay, Stream
from reverie.run.folder import RunFolder
from reverie.run.ratio import Ratio
from reverie.track import Achievements

_DRAWN = "drawn/"
"""Prefix of the arrays of batches that were drawn and not trained, and of what updates gave."""

_MALFORMED = (ValueError, LookupError, TypeError, AttributeError, OverflowError)
"""What values raise that are not those which a run has written."""


class Saveable(Protocol):
    """What acts and learns: a `Learner` or a `RandomActor`."""

    @property
    def platform(self) -> str:
        """Kind of device that computes; empty where none does."""
        ...

    @property
    def counters(self) -> dict[str, int]:
        """Counts that determine the random draws."""
        ...

    @property
    def array_names(self) -> set[str]:
        """Names of all arrays."""
        ...

    def snapshot(self) -> Callable[[], dict[str, np.ndarray]]:
        """Takes hold of the arrays, to be fetched by name in another thread."""
        ...

    def held(self) -> Callable[[], dict[str, np.ndarray]]:
        """Takes hold of what decides the next calls besides these arrays."""
        ...

    def take_back(self, arrays: dict[str, np.ndarray]) -> None:
        """Goes on with what `held` gave."""
        ...

    def load_arrays(self, arrays: dict[str, np.ndarray], counters: dict[str, int] | None) -> None:
        """Takes arrays and counts over."""
        ...


@dataclasses.dataclass
class Progress:
    """Counts of a run, over all the processes that worked on it.

    Attributes:
        steps: Environment steps, summed over environments.
        updates: Updates.
        episodes: Finished episodes.
        seconds: Wall-clock seconds of training before this process.
        evaluations: Evaluations that were begun, which decides the seeds of the next one.
        saved: Environment steps at the last save or restore, -1 before.
        achievements: What the finished episodes reached.
    """

    steps: int = 0
    updates: int = 0
    episodes: int = 0
    seconds: float = 0.0
    evaluations: int = 0
    saved: int = -1
    achievements: Achievements = dataclasses.field(default_factory=Achievements)
    _started: float = dataclasses.field(default_factory=time.monotonic)

    @property
    def elapsed(self) -> float:
        """Wall-clock seconds of training, including earlier processes."""
        return self.seconds + time.monotonic() - self._started

    def late(self, duration: float) -> bool:
        """Whether the run has used up its seconds; 0 is no limit."""
        return 0 < duration <= self.elapsed


@dataclasses.dataclass(frozen=True)
class Reached:
    """Everything that a run has reached: what its folder keeps.

    Args:
        folder: Run folder.
        progress: Counts of the run.
        agent: What acts and learns.
        replay: Stores the transitions.
        batches: Sequences for updates.
        ratio: Decides how many updates are due.
    """

    folder: RunFolder
    progress: Progress
    agent: Saveable
    replay: Replay
    batches: Stream
    ratio: Ratio

    def snapshot(self) -> Callable[[], None]:
        """Takes hold of it, to be written in another thread.

        Returns:
            Writes replay, then a checkpoint. In this order a kill between the two leaves replay
            newer than the checkpoint, never the other way round: every step that the counters know
            of is there. Raises NonFiniteError if the agent holds a NaN or an infinity; the old
            checkpoint then stays.
        """
        mark = uuid.uuid4().hex
        folder, progress, agent = self.folder, self.progress, self.agent
        saving = self.replay.save(folder.replay, mark)
        fetch, fetch_held = agent.snapshot(), agent.held()
        drawn, fetch_drawn = self.batches.held()
        step = progress.saved = progress.steps
        meta = {
            "steps": step,
            "updates": progress.updates,
            "episodes": progress.episodes,
            "seconds": progress.elapsed,
            "evaluations": progress.evaluations,
            "achievements": progress.achievements.save(),
            "ratio": self.ratio.save(),
            "counters": agent.counters,
            "platform": agent.platform,
            "drawn": drawn,
            "replay": mark,
        }

        def write() -> None:
            saving.wait()
            held = fetch_held() | {f"{_DRAWN}{name}": x for name, x in fetch_drawn().items()}
            with explain_full_disk(folder.root):
                Checkpointer(folder.checkpoints).save(step, fetch(), meta, held)

        return write

    def restore(self) -> list[str]:
        """Restores the newest valid checkpoint and replay, if there are any.

        Returns:
            Messages for the user; empty for a new run.

        Raises:
            CheckpointError: If no checkpoint can be read, or the agent or replay has another shape.
        """
        saved = self._read()
        if saved is None:
            return []
        load_agent(self.agent, saved)
        self.agent.take_back(saved.held)
        try:
            _take_counts(self.progress, saved.meta)
            self.ratio.load(saved.meta["ratio"])
        except _MALFORMED as error:
            reason = f"{type(error).__name__}: {error}"
            raise CheckpointError(f"{saved.folder}/meta.json is damaged ({reason}).") from error
        notes = []
        if (platform := saved.meta.get("platform", self.agent.platform)) != self.agent.platform:
            notes.append(
                f"The run was computed on a {platform} so far and goes on on a "
                f"{self.agent.platform}, with the same precision (jax.compute_dtype). Sums are "
                "rounded in another way there, so that numbers are not those that it would have "
                "had."
            )
        reached = f"{self.progress.steps:,} environment steps and {self.progress.updates:,} updates"
        found, *damaged = self._restore_replay(saved)
        return [f"Resumed at {reached}, with {found}.", *notes, *damaged]

    def _read(self) -> checkpoint.Checkpoint | None:
        try:
            return Checkpointer(self.folder.checkpoints).restore()
        except CheckpointError as error:
            if not self.folder.replay.is_dir():
                raise
            raise CheckpointError(
                f"{error} A new run can train on the replay of this one: when it has saved and "
                f"stopped, put {self.folder.replay} in the place of its own, and resume it."
            ) from error

    def _restore_replay(self, saved: checkpoint.Checkpoint) -> list[str]:
        """What there is of replay, and one message for each of its damaged files."""
        if not self.folder.replay.is_dir():
            return [f"an empty replay: there is no {self.folder.replay}"]
        try:
            loaded = self.replay.load(self.folder.replay, saved.meta.get("replay", ""))
            held = saved.held.items()
            drawn = {k.removeprefix(_DRAWN): x for k, x in held if k.startswith(_DRAWN)}
            self.batches.take_back(saved.meta.get("drawn", {}), drawn)
        except ValueError as error:
            raise CheckpointError(str(error)) from error
        except _MALFORMED as error:
            reason = f"{type(error).__name__}: {error}"
            raise CheckpointError(
                f"Replay in {self.folder.replay} is damaged ({reason})."
            ) from error
        damaged = [f"Skipped a damaged replay file: {reason}" for reason in loaded.damaged]
        return [f"{loaded.steps:,} steps in replay", *damaged]


def _take_counts(progress: Progress, meta: Mapping[str, Any]) -> None:
    counts = {name: meta.get(name, 0) for name in ("steps", "updates", "episodes", "evaluations")}
    if not all(isinstance(count, int) and count >= 0 for count in counts.values()):
        raise TypeError(f"counts are {counts}")
    for name, count in counts.items():
        setattr(progress, name, count)
    progress.saved, progress.seconds = counts["steps"], float(meta["seconds"])
    progress.achievements = Achievements(**meta.get("achievements", {}))


def load_policy(agent: Saveable, saved: checkpoint.Checkpoint) -> None:
    """Takes over what acts: the parameters. Of the rest nothing needs to be there or to fit.

    Raises:
        CheckpointError: If parameters are missing or have other shapes.
    """
    _load(agent, saved, transfer.PARAMS)


def load_agent(agent: Saveable, saved: checkpoint.Checkpoint) -> None:
    """Takes over all arrays of a checkpoint of the same agent.

    Raises:
        CheckpointError: If arrays are missing or have other shapes.
    """
    _load(agent, saved, "")


def _load(agent: Saveable, saved: checkpoint.Checkpoint, prefix: str) -> None:
    arrays = {name: value for name, value in saved.arrays.items() if name.startswith(prefix)}
    expected = {name for name in agent.array_names if name.startswith(prefix)}
    if missing := sorted(expected - set(arrays)):
        raise CheckpointError(
            f"The checkpoint {saved.folder} has no array {missing[:8]}, which the agent of this "
            "configuration needs. Use the model settings that the run was started with."
        )
    counters = saved.meta.get("counters")
    try:
        if not all(type(count) is int and count >= 0 for count in dict(counters or ()).values()):
            raise ValueError("its counters are no whole numbers.")
        agent.load_arrays(arrays, counters)
    except _MALFORMED as error:
        raise CheckpointError(f"The checkpoint {saved.folder} does not fit: {error}") from error
