"""The training loop: act, store, learn, and look at the clocks."""

import contextlib
import dataclasses
import functools
import sys

from reverie.config import Config, RunConfig
from reverie.disk import explain_full_disk
from reverie.envs import Cancelled, VectorEnv
from reverie.learner import NonFiniteError
from reverie.run import build, experience
from reverie.run.debug import check_numbers
from reverie.run.driver import Driver
from reverie.run.evaluate import Evaluator
from reverie.run.final import finish
from reverie.run.held_out import HeldOut
from reverie.run.monitor import Monitor
from reverie.run.parts import Parts, assemble
from reverie.run.report import report
from reverie.run.result import Outcome
from reverie.run.shutdown import Shutdown
from reverie.run.trainer import Trainer
from reverie.track import Every

SWITCH_SECONDS = 0.0005
"""How long a thread may keep the interpreter while another one waits."""


def train(
    config: Config, source: build.EnvSource | None = None, *, evaluation: bool = False
) -> Outcome:
    """Trains an agent, or goes on with the run in the same folder.

    Ctrl-C and SIGTERM end the run after the current step, or without it where environments keep
    the run waiting, with a save; a second one interrupts at once.

    Args:
        config: Resolved configuration.
        source: Where environments come from; the task of the configuration by default.
        evaluation: Whether to evaluate now and then in environments of their own.

    Returns:
        How the run ended. One that has reached its limit is evaluated if the configuration asks.

    Raises:
        ConfigError: If the configuration does not fit the environment or the run in the folder.
        CheckpointError: If no checkpoint of the run can be read.
        NonFiniteError: If training produced a NaN; nothing is saved then.
        DiskFullError: If the disk is full; the run is saved first, for which room is kept.
        Exception: Whatever an environment raises; the run is saved first.
    """
    source = (source or build.EnvSource(config.task, config.env)).resolved()
    with contextlib.ExitStack() as stack:
        shutdown = stack.enter_context(Shutdown())
        parts = assemble(config, source, stack)
        # Programs are traced in Python by another thread. By default this one would wait five
        # milliseconds to go on after every call that lets go of the interpreter.
        stack.callback(sys.setswitchinterval, sys.getswitchinterval())
        sys.setswitchinterval(SWITCH_SECONDS)
        # Compiled while the environments start and the first steps are collected.
        prepare(config, parts, evaluation)
        training = dataclasses.replace(source, folder=parts.folder.root)

        def cancelled() -> bool:
            return shutdown.requested is not None

        envs = build.vector_env(training, config.run, config.seed, cancelled=cancelled)
        stack.enter_context(envs)
        parts.logger.note(f"{envs.num_envs} environments, backend {envs.backend}: {envs.choice}")
        evaluator = held_out = None
        if evaluation:
            others = build.vector_env(source, config.run, config.seed, "eval", cancelled=cancelled)
            stack.enter_context(others)
            held_out = keep_evaluations(config, parts, stack)
            keep = (held_out.add,) if held_out else ()
            evaluator = Evaluator(others, parts.actor, parts.logger, config.run.eval_eps, keep)
        try:
            with explain_full_disk(parts.folder.root):
                loop(config, parts, envs, shutdown, evaluator, held_out)
        except NonFiniteError:
            raise  # What is broken is the agent itself: its last checkpoint is the better one.
        except Cancelled:
            pass  # A signal came while environments kept the run waiting.
        except Exception:
            parts.save_now()
            raise
        parts.save_now()
        outcome = Outcome(
            parts.folder.root, parts.progress.steps, parts.progress.updates, shutdown.requested
        )
        if shutdown.requested or not config.run.final_eval_eps:
            return outcome
        # One that can be open only once makes room for its evaluation.
        envs.close()
        result, files = finish(config, source, parts)
        return dataclasses.replace(outcome, evaluation=result, files=tuple(files))


def loop(
    config: Config,
    parts: Parts,
    envs: VectorEnv,
    shutdown: Shutdown,
    evaluator: Evaluator | None = None,
    held_out: HeldOut | None = None,
) -> None:
    """Runs until the limit of steps or seconds is reached, or a signal arrives.

    Args:
        config: Resolved configuration.
        parts: What the run is made of.
        envs: Training environments.
        shutdown: Tells when a signal has arrived.
        evaluator: Evaluates now and then.
        held_out: Reports on the evaluation episodes.
    """
    run, done, replay, learner = config.run, parts.progress, parts.replay, parts.learner
    check = functools.partial(check_numbers, what="transition")
    driver = Driver(envs, parts.actor, callbacks=[check] if run.debug else [])
    batch_steps = config.batch_size * config.batch_length
    monitor = Monitor(parts.logger, envs.num_envs, batch_steps, done.achievements)
    signal = "" if config.replay.priosignal == "model" else config.replay.priosignal
    trainer = None
    if learner:
        trainer = Trainer(
            learner, parts.batches, config.replay_context, run.debug, priorities=not signal
        )
    time_to_log, time_to_report, time_to_evaluate, time_to_save = clocks(run)

    while done.steps < run.steps and not done.late(run.duration) and not shutdown.requested:
        transition = driver.step()
        replay.add(transition, transition.get(signal) if signal else None)
        done.steps += envs.num_envs
        done.episodes += monitor.acted(transition)

        ready = replay.ready(config.batch_size)
        if trainer and ready:
            due = parts.ratio(envs.num_envs)
            for _ in range(due):
                trainer.update()
            done.updates += due
            monitor.updated(due)

        if time_to_log():
            monitor.log(replay, learner, envs.restarts)
        if learner and ready and time_to_report():
            report(learner, parts.previews, parts.logger, parts.folder.root, run.report_batches)
            if held_out:
                held_out.report(learner, parts.logger)
        if evaluator and time_to_evaluate():
            evaluator.run()
        if time_to_save():
            parts.save()
        parts.saver.check()

    # The step under way is left to close(): nobody needs it, and it may hang.
    monitor.log(replay, learner, envs.restarts)


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
    if _will_train(config, parts):
        parts.learner.prepare("train", parts.batches.example())
        if config.run.report_every:
            parts.learner.prepare("report", parts.previews.example(), later=True)
    if evaluation:
        parts.learner.prepare("evaluate", parts.example_obs(config.run.eval_envs))


def _will_train(config: Config, parts: Parts) -> bool:
    """Whether the steps that are left make enough of a replay for an update."""
    left = config.run.steps - parts.progress.steps
    needed = config.batch_size * parts.replay.length
    return left > 0 and len(parts.replay) + left >= needed


def clocks(run: RunConfig) -> tuple[Every, Every, Every, Every]:
    """Clocks for logging, reports, evaluation and saving.

    In the configuration 0 means never, to a clock it means always.
    """
    intervals = (run.log_every, run.report_every, run.eval_every, run.save_every)
    log, report_, evaluate, save = (Every(seconds or -1.0) for seconds in intervals)
    return log, report_, evaluate, save
