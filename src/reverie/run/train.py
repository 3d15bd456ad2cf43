"""The training loop: act, store, learn, and what happens by the clock."""

import contextlib
import dataclasses
import pathlib
import sys
from collections.abc import Sequence

from reverie.actors.cluster.fleet import Fleet
from reverie.actors.collector import Collector, Rollout, complete
from reverie.config.schema import Config
from reverie.disk import explain_full_disk
from reverie.envs.errors import Cancelled
from reverie.errors import Note
from reverie.learner.learner import Learner
from reverie.learner.nonfinite import NonFiniteError
from reverie.learner.placement.hosts import HostsError
from reverie.run.allocator import keep_memory, memory_given_back
from reverie.run.debug import check_numbers
from reverie.run.environments.source import EnvSource
from reverie.run.hooks import Hook, make_hooks
from reverie.run.monitor import Monitor
from reverie.run.parts.setup import set_up
from reverie.run.parts.shutdown import Shutdown, Stopped
from reverie.run.parts.start import open_collector, prepare
from reverie.run.parts.state import Run
from reverie.run.parts.together import Turn
from reverie.run.planning.device_memory import check_update, explain_device_memory
from reverie.run.reports.evaluation import Evaluations, finish, open_evaluations
from reverie.run.saved.folder import FolderGoneError
from reverie.run.saved.result import Outcome
from reverie.track.sinks.base import Sink

SWITCH_SECONDS = 0.0005
"""How long a thread may keep the interpreter while another one waits."""


def train(
    config: Config,
    source: EnvSource | None = None,
    *,
    callbacks: Sequence[Hook] = (),
    sinks: Sequence[Sink] = (),
    collector: Collector | None = None,
    fleet: Fleet | None = None,
) -> Outcome:
    """Trains an agent, or goes on with the run in the same folder.

    With `script` train_eval it plays `run.eval_eps` evaluation episodes every `run.eval_every`
    seconds. They are logged as `eval/episode/...`, do not reach replay and use random keys of their
    own, so that training is the same with and without them.

    Ctrl-C, SIGTERM and SIGHUP end the run after the current step, or without it where environments
    or the compiler keep the run waiting, with a save; a second Ctrl-C ends the process at once.

    Args:
        config: Resolved configuration.
        source: Where environments come from; the task of the configuration by default.
        callbacks: Called with the run after every step of the loop.
        sinks: Outputs of metrics besides those of the configuration.
        collector: Makes the steps; by default environments of the source, with the policy.
        fleet: Actors that make the steps instead.

    Returns:
        How the run ended. One that has reached its limit is evaluated if the configuration asks.

    Raises:
        ConfigError: If the configuration does not fit the environment or the run in the folder.
        CheckpointError: If no checkpoint of the run can be read.
        NonFiniteError: If training produced a NaN; nothing is saved then.
        DeviceMemoryError: If a device has not enough memory; the run is saved first, where what
            was being computed has left the agent's state.
        DiskFullError: If the disk is full; the run is saved first, for which room is kept.
        FolderGoneError: If the run folder was moved or removed.
        BaseException: Whatever an environment raises; the run is saved first.
    """
    outcome = Outcome(pathlib.Path(config.logdir).expanduser(), 0, 0)
    with contextlib.ExitStack() as stack:
        shutdown = stack.enter_context(Shutdown())
        # A signal may come during a wait.
        with contextlib.suppress(Stopped, Cancelled), explain_device_memory(config):
            with shutdown.interruptible():
                run = set_up(config, source, shutdown, stack, sinks)
            limit = config.run.duration
            shutdown.late = lambda: 0 < limit <= run.progress.elapsed
            try:
                work(run, callbacks, collector, fleet)
            finally:
                outcome = Outcome(run.folder.root, run.steps, run.updates)
            hosts = run.together.hosts
            if config.run.final_eval_eps and not shutdown.requested and hosts.first:
                with contextlib.suppress(Stopped, Cancelled):
                    result, files = finish(run)
                    outcome = dataclasses.replace(outcome, evaluation=result, files=tuple(files))
            hosts.close()
    return dataclasses.replace(outcome, interrupted=shutdown.requested)


def work(
    run: Run, callbacks: Sequence[Hook], collector: Collector | None, fleet: Fleet | None
) -> None:
    """Makes the environments, runs the loop in them, and saves, whatever happens meanwhile."""
    # The environments are closed before what follows: of some there can only be one at a time.
    with contextlib.ExitStack() as stack:
        # Programs are traced in Python by another thread. By default this one would wait five
        # milliseconds to go on after every call that lets go of the interpreter.
        stack.callback(sys.setswitchinterval, sys.getswitchinterval())
        sys.setswitchinterval(SWITCH_SECONDS)
        stack.enter_context(memory_given_back())
        # Compiled while the environments start and the first steps are collected.
        prepare(run, own=bool(collector or fleet))
        try:
            with run.shutdown.interruptible():
                collector = open_collector(run, stack, collector, fleet)
                evaluations = open_evaluations(run, stack)
                if fleet and fleet.evaluators:
                    from reverie.run.reports.side_evaluation import SideEvaluations  # It needs Ray.

                    callbacks = [SideEvaluations(run, fleet), *callbacks]
            with (
                explain_full_disk(run.folder.root),
                explain_device_memory(run.config, run.learner),
                run.together.hosts.explained(),
            ):
                loop(run, collector, evaluations, callbacks)
        except NonFiniteError:
            raise  # What is broken is the agent itself: its last checkpoint is the better one.
        except (HostsError, FolderGoneError):
            raise  # One process alone cannot save the run, nor can any without its folder.
        except (Stopped, Cancelled):
            run.together.end()
        except BaseException as error:
            rescue(run, error)
            raise
        run.progress.evaluations += bool(run.config.run.final_eval_eps)
        run.save_now()
        run.together.check()


def rescue(run: Run, error: BaseException) -> None:
    """Saves what was reached before an error; a save that fails becomes a note of the error."""
    try:
        run.together.end(f"{type(error).__name__}: {error}")
        run.save_now()
    except Exception as failure:
        note = (
            f"After this the run in {run.folder.root} could not be saved either, so that what "
            f"it reached since its last checkpoint is lost: {type(failure).__name__}: {failure}"
        )
        error.add_note(Note(note))


def loop(
    run: Run,
    collector: Collector,
    evaluations: Evaluations | None,
    callbacks: Sequence[Hook],
) -> None:
    """Runs until the limit of steps or seconds is reached, or a signal arrives."""
    config, done, together = run.config, run.progress, run.together
    monitor = Monitor(run, collector)
    hooks = make_hooks(run, monitor, evaluations, callbacks)

    # Of several processes none may wait for its compiler while the others update.
    begun = not together.alone and begin_updates(run)
    with run.shutdown.interruptible():
        hand_over(run, collector)
    with contextlib.suppress(Stopped, Cancelled):  # A signal may come during a wait.
        while done.steps < config.run.steps and not run.shutdown.over:
            rollout, turn = collect(run, collector)
            with run.watches["logging"]:
                done.episodes += monitor.acted(rollout, turn.steps)

            full = together.alone and run.replay.ready(config.batch_size)
            if run.learner and (turn.ready or full):
                begun = begun or begin_updates(run)
                monitor.updated(update(run, run.learner, turn.steps))
                hand_over(run, collector)

            with run.watches["logging"]:
                for hook in hooks:
                    hook(run)

    together.end(limit=done.steps >= config.run.steps)
    # The step under way is left to close(): nobody needs it, and it may hang.
    monitor.log(run)
    monitor.explain()


def collect(run: Run, collector: Collector) -> tuple[Rollout, Turn]:
    """Takes the next steps into replay, and agrees with the other processes on what to do."""
    config, together = run.config, run.together
    signal = "" if config.replay.priosignal == "model" else config.replay.priosignal
    with run.shutdown.interruptible(), run.watches["environment"]:
        rollout = complete(collector.collect(), run.latents)
    if config.run.debug:
        check_numbers(rollout.steps, "rollout")
    turn = together.turn(
        rollout.size, not together.alone and run.replay.ready(run.share.batch_size)
    )
    if turn.save:
        run.start_save()
    with run.watches["replay"]:
        for stream in rollout.ended:
            run.replay.end(stream)
        run.replay.add(rollout.steps, rollout.streams, rollout.steps.get(signal))
    run.progress.steps += turn.steps
    return rollout, turn


def begin_updates(run: Run) -> bool:
    """What comes before the first one: its program, room for it, and how its memory is kept."""
    if run.learner and run.config.run.train_ratio:
        with run.shutdown.interruptible(), run.watches["update"]:
            run.learner.wait("train", run.batches.example())
        check_update(run.config, run.learner)
        if needs := run.learner.memory_needs().get("train"):
            keep_memory(needs)
    return True


def hand_over(run: Run, collector: Collector) -> None:
    """Gives what was learned to what acts."""
    if run.learner:
        collector.set_params(run.learner.acting())


def update(run: Run, learner: Learner, steps: int) -> int:
    """Makes the updates that are due after some environment steps; returns their number.

    What an update gives back reaches replay after the next one was issued, so that the device
    always has work; it is the thread of the batches that waits for the values.
    """
    config, due, time = run.config, run.ratio(steps), run.watches
    for made in range(due):
        if run.shutdown.requested and run.together.alone:
            run.ratio.give_back(due - made)
            return made
        with time["replay"]:
            sample = run.batches.next()
        if config.run.debug:
            check_numbers(sample.batch, f"batch of update {learner.updates + 1}")
        with time["update"]:
            out = learner.update(sample.batch)
        priority = out.priority if config.replay.priosignal == "model" else None
        with time["replay"]:
            run.batches.postpone(sample.ids[:, config.replay_context :], out.latents, priority)
        run.progress.updates += 1
    return due
