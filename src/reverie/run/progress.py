"""Saving and restoring everything that a run has reached."""

import dataclasses
import time
import uuid
from collections.abc import Callable, Mapping
from typing import Any

from reverie.actors.random_policy import RandomPolicy
from reverie.disk import explain_full_disk
from reverie.learner import checkpoint
from reverie.learner.checkpoint import Checkpointer, CheckpointError
from reverie.learner.learner import Learner
from reverie.learner.policy import Policy
from reverie.replay.batches import Batches
from reverie.replay.replay import Replay
from reverie.run.folder import RunFolder
from reverie.run.ratio import Ratio
from reverie.track.achievements import Achievements

_DRAWN = "drawn/"
"""Prefix of the arrays of batches that were drawn and not trained, and of what updates gave."""

_MALFORMED = (ValueError, LookupError, TypeError, AttributeError, OverflowError)
"""What values raise that are not those which a run has written."""


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
        learner: Updates the agent; None when actions are random.
        policy: Chooses the actions.
        replay: Stores the transitions.
        batches: Sequences for updates.
        ratio: Decides how many updates are due.
    """

    folder: RunFolder
    progress: Progress
    learner: Learner | None
    policy: Policy | RandomPolicy
    replay: Replay
    batches: Batches
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
        folder, progress, learner = self.folder, self.progress, self.learner
        saving = self.replay.save(folder.replay, mark)
        fetch = learner.snapshot() if learner else lambda: ({}, {})
        counters = {**(learner.counters if learner else {}), **self.policy.counters}
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
            "counters": counters,
            "platform": self._platform,
            "drawn": drawn,
            "replay": mark,
        }

        def write() -> None:
            saving.wait()
            arrays, held = fetch()
            held |= {f"{_DRAWN}{name}": x for name, x in fetch_drawn().items()}
            with explain_full_disk(folder.root):
                Checkpointer(folder.checkpoints).save(step, arrays, meta, held)

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
        self._load_agent(saved)
        try:
            _take_counts(self.progress, saved.meta)
            self.ratio.load(saved.meta["ratio"])
        except _MALFORMED as error:
            reason = f"{type(error).__name__}: {error}"
            raise CheckpointError(f"{saved.folder}/meta.json is damaged ({reason}).") from error
        notes = []
        if (platform := saved.meta.get("platform", self._platform)) != self._platform:
            notes.append(
                f"The run was computed on a {platform} so far and goes on on a "
                f"{self._platform}, with the same precision (jax.compute_dtype). Sums are "
                "rounded in another way there, so that numbers are not those that it would have "
                "had."
            )
        reached = f"{self.progress.steps:,} environment steps and {self.progress.updates:,} updates"
        found, *damaged = self._restore_replay(saved)
        return [f"Resumed at {reached}, with {found}.", *notes, *damaged]

    @property
    def _platform(self) -> str:
        """Kind of device that computes; empty where none does."""
        return self.learner.placement.platform if self.learner else ""

    def _load_agent(self, saved: checkpoint.Checkpoint) -> None:
        """Takes over all arrays, which have to be there and to fit, and the counters."""
        if self.learner:
            saved.need(self.learner.array_names)
            try:
                self.learner.load(saved.arrays, saved.counters, saved.held)
            except _MALFORMED as error:
                raise CheckpointError(
                    f"The checkpoint {saved.folder} does not fit: {error}"
                ) from error
        self.policy.restore(saved.counters)

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
