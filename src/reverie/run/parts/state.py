"""What a run is made of, and what of it is saved and restored."""

import dataclasses
import logging
import time
import uuid
from collections.abc import Callable, Mapping
from typing import Any

from reverie.actors.collector import Collector, Resumable
from reverie.actors.random_policy import RandomPolicy
from reverie.clocks import Stopwatch
from reverie.config.schema import Config
from reverie.disk import explain_full_disk
from reverie.learner.checkpoints.checkpoint import Checkpoint, Checkpointer, CheckpointError
from reverie.learner.learner import Learner
from reverie.learner.policy import Policy
from reverie.replay.batches import AnyReplay, Batches
from reverie.run.environments.source import EnvSource
from reverie.run.parts.ratio import Ratio
from reverie.run.parts.shutdown import Shutdown
from reverie.run.parts.together import Together, own_part
from reverie.run.saved.folder import RunFolder
from reverie.run.saved.saver import Saver
from reverie.spaces import Space
from reverie.track.achievements import Achievements
from reverie.track.logger import Logger
from reverie.track.sinks.terminal import SAVED

log = logging.getLogger(__name__)

PARTS = ("environment", "policy", "replay", "update", "logging")
"""What the thread of the loop spends its time in: waiting for steps, choosing actions, storing and
drawing steps, updates (on a CPU also their computation), and logs, reports, evaluations, saves and
callbacks."""

MEET_SECONDS = 600.0
"""How long a save waits for those of the other processes."""

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
        collected: What the collector of the process before had counted, if it can be resumed.
    """

    steps: int = 0
    updates: int = 0
    episodes: int = 0
    seconds: float = 0.0
    evaluations: int = 0
    saved: int = -1
    achievements: Achievements = dataclasses.field(default_factory=Achievements)
    collected: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    _started: float = dataclasses.field(default_factory=time.monotonic)

    @property
    def elapsed(self) -> float:
        """Wall-clock seconds of training, including earlier processes."""
        return self.seconds + time.monotonic() - self._started


@dataclasses.dataclass
class Run:
    """What a run is made of, besides its environments; what hooks and callbacks get.

    Attributes:
        config: Resolved configuration.
        source: Where environments come from.
        shutdown: Tells when the run is to end early.
        folder: Run folder.
        spaces: Observation and action keys.
        learner: Updates the agent; None when actions are random.
        policy: Chooses the actions; acts with the parameters that it was given last.
        replay: Stores the transitions.
        batches: Sequences for updates.
        ratio: Decides how many updates are due.
        share: Options of what this process has of it; those of the run where it is the only one.
        together: The processes of the run.
        progress: Counts of the run.
        collector: Makes the steps; None before there is one.
        watches: Time the parts of the loop; that of the environment includes the policy's.
        previews: Sequences for reports; drawing them changes nothing in training.
        logger: Receives metrics and messages. As what follows, made when all else was restored.
        saver: Writes checkpoints in the background.
    """

    config: Config
    source: EnvSource
    shutdown: Shutdown
    folder: RunFolder
    spaces: Mapping[str, Space]
    learner: Learner | None
    policy: Policy | RandomPolicy
    replay: AnyReplay
    batches: Batches
    ratio: Ratio
    share: Config
    together: Together
    progress: Progress = dataclasses.field(default_factory=Progress)
    collector: Collector | None = None
    watches: Mapping[str, Stopwatch] = dataclasses.field(
        default_factory=lambda: {part: Stopwatch() for part in PARTS}
    )
    previews: Batches = dataclasses.field(init=False)
    logger: Logger = dataclasses.field(init=False)
    saver: Saver = dataclasses.field(init=False)

    @property
    def steps(self) -> int:
        """Environment steps, summed over environments and processes of the run."""
        return self.progress.steps

    @property
    def updates(self) -> int:
        """Gradient steps."""
        return self.progress.updates

    @property
    def spent(self) -> dict[str, float]:
        """Seconds of this process by part of the loop."""
        spent = {part: watch.seconds for part, watch in self.watches.items()}
        return {**spent, "environment": spent["environment"] - spent["policy"]}

    @property
    def latents(self) -> Mapping[str, Space]:
        """Latents of the agent; none of a random one."""
        return self.learner.agent.latent_spaces if self.learner else {}

    @property
    def platform(self) -> str:
        """Kind of device that computes; empty where none does."""
        return self.learner.placement.platform if self.learner else ""

    def save(self) -> None:
        """Starts to write replay and a checkpoint, if there are steps that the newest ones lack.

        Of several processes it is enough that one calls it: all begin in the next turn of the loop.

        Raises:
            Exception: What the save before has raised.
        """
        if self.together.running:
            self.together.wanted = True
        else:
            self.start_save()

    def start_save(self) -> None:
        """As `save`, at once; in all processes together."""
        if self.steps in (0, self.progress.saved):
            return
        self.saver.wait()
        self.saver.start(snapshot(self), f"{SAVED}{self.steps:,} environment steps.")

    def save_now(self) -> None:
        """As `save`, and returns when everything is durable, if that is only for this process."""
        self.save()
        self.saver.wait()


def snapshot(run: Run) -> Callable[[], None]:
    """Copies what a run has reached, to be written in another thread.

    Returns:
        Writes replay, then a checkpoint. In this order a kill between the two leaves replay newer
        than the checkpoint, never the other way round: every step that the counters know of is
        there.

    Raises:
        NonFiniteError: If the agent holds a NaN or an infinity; the old checkpoint then stays.
    """
    mark = uuid.uuid4().hex
    folder, done, learner, hosts = run.folder, run.progress, run.learner, run.together.hosts
    # The agent's are those of the first process.
    arrays = learner.arrays() if learner and hosts.first else {}
    held = learner.held(hosts.first) if learner else {}
    drawn, batches = run.batches.held()
    held |= {f"{_DRAWN}{name}": x for name, x in batches.items()}
    saving = run.replay.save(folder.replay, mark)
    step = done.saved = done.steps
    meta = {
        "steps": step,
        "updates": done.updates,
        "episodes": done.episodes,
        "seconds": done.elapsed,
        "evaluations": done.evaluations,
        "achievements": done.achievements.save(),
        "ratio": run.ratio.save(),
        "counters": {**(learner.counters if learner else {}), **run.policy.counters},
        "platform": run.platform,
        "drawn": drawn,
        "replay": mark,
        "processes": hosts.count,
    }
    resumable = run.collector if isinstance(run.collector, Resumable) else None
    meta |= {"collector": resumable.counters} if resumable else {}

    def checkpoint() -> None:
        # A part is there before its checkpoint, whose two predecessors still need theirs.
        keep = 2 if hosts.first else 3
        with explain_full_disk(folder.root):
            Checkpointer(folder.parts, keep).save(step, arrays, meta, held)

    def part() -> None:
        saving.wait()
        if not hosts.first:
            checkpoint()

    def write() -> None:
        try:
            # What the others have is durable before the checkpoint that counts it.
            hosts.complete(part, MEET_SECONDS)
            if hosts.first:
                checkpoint()
        except BaseException:
            done.saved = -1  # Whoever saves after an error is to try again.
            raise
        if resumable:
            resumable.durable(meta["collector"])

    return write


def restore(run: Run) -> list[str]:
    """Restores the newest valid checkpoint and replay, if there are any.

    Returns:
        Messages for the user; empty for a new run.

    Raises:
        CheckpointError: If no checkpoint can be read, or the agent or replay has another shape.
    """
    saved = _read(run.folder)
    if saved is None:
        return []
    hosts = run.together.hosts
    own = saved if hosts.first else own_part(run.folder, saved)
    _load_agent(run, saved, own)
    try:
        _take_counts(run.progress, saved.meta)
        run.ratio.load(saved.meta["ratio"])
    except _MALFORMED as error:
        reason = f"{type(error).__name__}: {error}"
        raise CheckpointError(f"{saved.folder}/meta.json is damaged ({reason}).") from error
    notes = []
    if (platform := saved.meta.get("platform", run.platform)) != run.platform:
        notes.append(
            f"The run was computed on a {platform} so far and goes on on a {run.platform}, with "
            "the same precision (jax.compute_dtype). Sums are rounded in another way there, so "
            "that numbers are not those that it would have had."
        )
    if (before := saved.meta.get("processes", 1)) != hosts.count:
        notes.append(
            f"The run had {before} process{'es' * (before > 1)} so far and goes on with "
            f"{hosts.count}: each begins with the steps that it has in replay itself."
        )
    found, *damaged = _load_replay(run, own)
    if not hosts.first:  # What the logger is told is for the first one.
        for reason in damaged:
            log.warning("Process %d: %s", hosts.index, reason)
    reached = f"{run.steps:,} environment steps and {run.updates:,} updates"
    return [f"Resumed at {reached}, with {found}.", *notes, *damaged]


def _read(folder: RunFolder) -> Checkpoint | None:
    try:
        return Checkpointer(folder.checkpoints).restore()
    except CheckpointError as error:
        if not folder.replay.is_dir():
            raise
        raise CheckpointError(
            f"{error} A new run can train on the replay of this one: when it has saved and "
            f"stopped, put {folder.replay} in the place of its own, and resume it."
        ) from error


def _load_agent(run: Run, saved: Checkpoint, own: Checkpoint) -> None:
    """Takes over all arrays, which have to be there and to fit, and the counters."""
    if run.learner:
        saved.need(run.learner.array_names)
        try:
            run.learner.load(saved.arrays, saved.counters, own.held)
        except _MALFORMED as error:
            raise CheckpointError(f"The checkpoint {saved.folder} does not fit: {error}") from error
    run.policy.restore(own.counters)


def _take_counts(progress: Progress, meta: Mapping[str, Any]) -> None:
    counts = {name: meta.get(name, 0) for name in ("steps", "updates", "episodes", "evaluations")}
    if not all(isinstance(count, int) and count >= 0 for count in counts.values()):
        raise TypeError(f"counts are {counts}")
    for name, count in counts.items():
        setattr(progress, name, count)
    progress.saved, progress.seconds = counts["steps"], float(meta["seconds"])
    progress.achievements = Achievements(**meta.get("achievements", {}))
    progress.collected = meta.get("collector", {})


def _load_replay(run: Run, saved: Checkpoint) -> list[str]:
    """What there is of replay, and one message for each of its damaged files."""
    folder = run.folder.replay
    if not folder.is_dir():
        return [f"an empty replay: there is no {folder}"]
    try:
        loaded = run.replay.load(folder, saved.meta.get("replay", ""))
        held = saved.held.items()
        drawn = {k.removeprefix(_DRAWN): x for k, x in held if k.startswith(_DRAWN)}
        run.batches.take_back(saved.meta.get("drawn", {}), drawn)
    except ValueError as error:
        raise CheckpointError(str(error)) from error
    except _MALFORMED as error:
        reason = f"{type(error).__name__}: {error}"
        raise CheckpointError(f"Replay in {folder} is damaged ({reason}).") from error
    damaged = [f"Skipped a damaged replay file: {reason}" for reason in loaded.damaged]
    return [f"{loaded.steps:,} steps in replay", *damaged]
