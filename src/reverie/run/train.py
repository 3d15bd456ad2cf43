"""The training loop: act, store, learn, and what happens by the clock."""

import contextlib
import dataclasses
import functools
import pathlib
import sys
from collections.abc import Sequence

from reverie.config import Config
from reverie.disk import explain_full_disk
from reverie.envs import Cancelled, VectorEnv
from reverie.learner import NonFiniteError
from reverie.run import build, experience
from reverie.run.debug import check_numbers
from reverie.run.device_memory import explain_device_memory
from reverie.run.driver import Driver
from reverie.run.evaluate import Evaluator
from reverie.run.final import finish
from reverie.run.held_out import HeldOut
from reverie.run.hooks import Hook, make_hooks
from reverie.run.monitor import Monitor
from reverie.run.parts import Parts, assemble
from reverie.run.result import Outcome
from reverie.run.shutdown import Shutdown, Stopped
from reverie.run.trainer import Trainer
from reverie.track import Sink

SWITCH_SECONDS = 0.0005
"""How long a thread may keep the interpreter while another one waits."""


def train(
    config: Config,
    source: build.EnvSource | None = None,
    *,
    evaluation: bool = False,
    callbacks: Sequence[Hook] = (),
    sinks: Sequence[Sink] = (),
) -> Outcome:
    """Trains an agent, or goes on with the run in the same folder.

    Ctrl-C, SIGTERM and SIGHUP end the run after the current step, or without it where environments
    or the compiler keep the run waiting, with a save; a second Ctrl-C ends the process at once.

    Args:
        config: Resolved configuration.
        source: Where environments come from; the task of the configuration by default.
        evaluation: Whether to evaluate now and then in environments of their own.
        callbacks: Called with the run after every step of the loop.
        sinks: Outputs of metrics besides those of the configuration.

    Returns:
        How the run ended. One that has reached its limit is evaluated if the configuration asks.

    Raises:
        ConfigError: If the configuration does not fit the environment or the run in the folder.
        CheckpointError: If no checkpoint of the run can be read.
        NonFiniteError: If training produced a NaN; nothing is saved then.
        DeviceMemoryError: If a device has not enough memory; the run is saved first, where what
            was being computed has left the agent's state.
        DiskFullError: If the disk is full; the run is saved first, for which room is kept.
        BaseException: Whatever an environment raises; the run is saved first.
    """
    source = source or build.EnvSource(config.task, config.env)
    outcome = Outcome(pathlib.Path(config.logdir).expanduser(), 0, 0)
    with contextlib.ExitStack() as stack:
        shutdown = stack.enter_context(Shutdown())
        # A signal may come during a wait.
        with contextlib.suppress(Stopped, Cancelled), explain_device_memory(config):
            with shutdown.interruptible():
                source = source.resolved(config)
                parts = assemble(config, source, stack, sinks)
            shutdown.late = lambda: parts.progress.late(config.run.duration)
            try:
                run(config, source, parts, shutdown, evaluation, callbacks)
            finally:
                done = parts.progress
                outcome = Outcome(parts.folder.root, done.steps, done.updates)
            if config.run.final_eval_eps and not shutdown.requested:
                result, files = finish(config, source, parts, shutdown)
                outcome = dataclasses.replace(outcome, evaluation=result, files=tuple(files))
    return dataclasses.replace(outcome, interrupted=shutdown.requested)


def run(
    config: Config,
    source: build.EnvSource,
    parts: Parts,
    shutdown: Shutdown,
    evaluation: bool,
    callbacks: Sequence[Hook] = (),
) -> None:
    """Makes the environments, runs the loop in them, and saves, whatever happens meanwhile.

    Args:
        config: Resolved configuration.
        source: Where environments come from.
        parts: What the run is made of.
        shutdown: Ends the run early.
        evaluation: As in `train`.
        callbacks: As in `train`.
    """
    # The environments are closed before what follows: of some there can only be one at a time.
    with contextlib.ExitStack() as stack:
        # Programs are traced in Python by another thread. By default this one would wait five
        # milliseconds to go on after every call that lets go of the interpreter.
        stack.callback(sys.setswitchinterval, sys.getswitchinterval())
        sys.setswitchinterval(SWITCH_SECONDS)
        # Compiled while the environments start and the first steps are collected.
        prepare(config, parts, evaluation)
        try:
            with shutdown.interruptible():
                opened = open_envs(config, source, parts, shutdown, evaluation, stack)
            with (
                explain_full_disk(parts.folder.root),
                explain_device_memory(config, parts.learner),
            ):
                loop(config, parts, shutdown, *opened, callbacks)
        except NonFiniteError:
            raise  # What is broken is the agent itself: its last checkpoint is the better one.
        except (Stopped, Cancelled):
            pass
        except BaseException as error:
            rescue(parts, error)
            raise
        parts.progress.evaluations += bool(config.run.final_eval_eps)
        parts.save_now()


def rescue(parts: Parts, error: BaseException) -> None:
    """Saves what was reached before an error; a save that fails becomes a note of the error."""
    try:
        parts.save_now()
    except Exception as failure:
        error.add_note(
            f"After this the run in {parts.folder.root} could not be saved either, so that what "
            f"it reached since its last checkpoint is lost: {type(failure).__name__}: {failure}"
        )


def open_envs(
    config: Config,
    source: build.EnvSource,
    parts: Parts,
    shutdown: Shutdown,
    evaluation: bool,
    stack: contextlib.ExitStack,
) -> tuple[VectorEnv, Evaluator | None, HeldOut | None]:
    """The environments of training; if there are evaluations, what plays and keeps them too."""

    def cancelled() -> bool:
        return shutdown.requested is not None

    training = dataclasses.replace(source, folder=parts.folder.root)
    seed = build.seed_at(config.seed, parts.progress.steps)
    envs = build.vector_env(training, config.run, seed, cancelled=cancelled)
    stack.enter_context(envs)
    named = f"{envs.num_envs} environment{'s' * (envs.num_envs > 1)}"
    origin = config.sources.get("run.env_backend", "")
    origin = f" It was set by {origin}." if origin and config.run.env_backend != "auto" else ""
    parts.logger.note(f"{named}, backend {envs.backend}: {envs.choice}{origin}")
    if not evaluation:
        for note in ineffective(config):
            parts.logger.note(note)
        return envs, None, None
    count = min(config.run.eval_envs, config.run.eval_eps)
    others = build.vector_env(source, config.run, config.seed, "eval", count, cancelled=cancelled)
    stack.enter_context(others)
    held_out = keep_evaluations(config, parts, stack)
    keep = (held_out.add,) if held_out else ()
    episodes = config.run.eval_eps
    return envs, Evaluator(others, parts.actor, parts.logger, episodes, keep, shutdown), held_out


def loop(
    config: Config,
    parts: Parts,
    shutdown: Shutdown,
    envs: VectorEnv,
    evaluator: Evaluator | None = None,
    held_out: HeldOut | None = None,
    callbacks: Sequence[Hook] = (),
) -> None:
    """Runs until the limit of steps or seconds is reached, or a signal arrives.

    Args:
        config: Resolved configuration.
        parts: What the run is made of.
        shutdown: Tells when a signal has arrived.
        envs: Training environments.
        evaluator: Evaluates now and then.
        held_out: Reports on the evaluation episodes.
        callbacks: What the user wants to be called after every step of the loop.
    """
    done, replay = parts.progress, parts.replay
    check = functools.partial(check_numbers, what="transition")
    checks = [check] if config.run.debug else []
    driver = Driver(envs, parts.actor, callbacks=checks, waiting=shutdown.interruptible)
    batch_steps = config.batch_size * config.batch_length
    monitor = Monitor(parts.logger, envs, batch_steps, done.achievements)
    signal = "" if config.replay.priosignal == "model" else config.replay.priosignal
    trainer = make_trainer(config, parts)
    hooks = make_hooks(config, parts, shutdown, monitor, evaluator, held_out, callbacks)

    shutdown.install()  # Building environments may have taken them.
    while done.steps < config.run.steps and not shutdown.over:
        transition = driver.step()
        replay.add(transition, transition.get(signal) if signal else None)
        done.steps += envs.num_envs
        done.episodes += monitor.acted(transition)

        if trainer and replay.ready(config.batch_size):
            trainer.wait(shutdown.interruptible)
            monitor.updated(update(parts, trainer, shutdown, envs.num_envs))

        for hook in hooks:
            hook(parts)

    # The step under way is left to close(): nobody needs it, and it may hang.
    monitor.log(parts)
    monitor.explain()


def make_trainer(config: Config, parts: Parts) -> Trainer | None:
    """What feeds the learner; None when actions are random."""
    if not parts.learner:
        return None
    return Trainer(
        parts.learner,
        parts.batches,
        config.replay_context,
        config.run.debug,
        priorities=config.replay.priosignal == "model",
    )


def update(parts: Parts, trainer: Trainer, shutdown: Shutdown, steps: int) -> int:
    """Makes the updates that are due after some environment steps; returns their number."""
    due = parts.ratio(steps)
    for made in range(due):
        if shutdown.requested:
            parts.ratio.give_back(due - made)
            return made
        trainer.update()
        parts.progress.updates += 1
    return due


def ineffective(config: Config) -> list[str]:
    """Says which options of evaluation the user has set although there are no evaluations."""
    names = ["eval_every", "eval_eps"]
    if not config.run.final_eval_eps:
        names += ["eval_envs", "eval_max_steps"]
    keys = [f"run.{name}" for name in names]
    given = [key for key in keys if config.sources.get(key) in ("overrides", f"flag --{key}")]
    if not given:
        return []
    return [
        f"{' and '.join(given)}: without effect in script {config.script}, which evaluates only at "
        "the end, if run.final_eval_eps says so. Script train_eval evaluates during training."
    ]


def keep_evaluations(config: Config, parts: Parts, stack: contextlib.ExitStack) -> HeldOut | None:
    """Makes what keeps evaluation episodes for reports; None if there are none to be made."""
    if not parts.learner or not experience.held_out_steps(config):
        return None
    spaces = {**parts.obs_space, **parts.act_space}
    held_out = HeldOut(config, spaces, parts.learner.latent_spaces, parts.folder.root)
    return stack.enter_context(contextlib.closing(held_out))


def prepare(config: Config, parts: Parts, evaluation: bool = False) -> None:
    """Starts to compile what the run will need, in the order in which it needs it."""
    if not parts.learner or parts.progress.steps >= config.run.steps:
        return
    parts.learner.prepare("act", parts.example_obs(config.run.envs))
    kept = "" if config.jax.cache_dir == "off" else ", and seconds where an earlier start did it"
    parts.logger.note(f"Compiling: about 20 seconds on a CPU{kept}.")
    if _will_train(config, parts):
        parts.learner.prepare("train", parts.batches.example())
        if config.run.report_every:
            parts.learner.prepare("report", parts.previews.example(), later=True)
    else:
        parts.logger.note(
            f"This run will learn nothing: the first update needs {_first_batch(config, parts):,} "
            f"steps in replay, and run.steps is {config.run.steps:,}."
        )
    if evaluation:
        count = min(config.run.eval_envs, config.run.eval_eps)
        parts.learner.prepare("evaluate", parts.example_obs(count))


def _will_train(config: Config, parts: Parts) -> bool:
    """Whether the steps that are left make enough of a replay for an update."""
    left = config.run.steps - parts.progress.steps
    return left > 0 and len(parts.replay) + left >= _first_batch(config, parts)


def _first_batch(config: Config, parts: Parts) -> int:
    """Steps in replay from which updates are made, but for those at the ends of episodes."""
    return config.batch_size * parts.replay.length
