"""What a run does now and then: log, report, evaluate, save, and what its user asks for."""

import functools
from collections.abc import Callable, Sequence

from reverie.actors.collector import Arrays
from reverie.clocks import Every
from reverie.config.schema import Config
from reverie.run import build
from reverie.run.evaluator import Evaluator
from reverie.run.held_out import HeldOut
from reverie.run.monitor import Monitor
from reverie.run.report import report
from reverie.run.setup import Run
from reverie.run.shutdown import Shutdown
from reverie.run.side_work import SideWork

Hook = Callable[[Run], object]
"""Is called with the run after every step of the loop."""


def make_hooks(
    config: Config,
    run: Run,
    shutdown: Shutdown,
    monitor: Monitor,
    evaluator: Evaluator | None = None,
    held_out: HeldOut | None = None,
    callbacks: Sequence[Hook] = (),
) -> list[Hook]:
    """Everything that happens by the clock, in the order in which it happens.

    Args:
        config: Resolved configuration.
        run: What the run is made of.
        shutdown: Ends reports and evaluations early.
        monitor: Logs.
        evaluator: Plays the evaluations, if there are any.
        held_out: Reports on their episodes.
        callbacks: Those of the user.
    """
    options, jobs = config.run, []
    if run.learner and options.report_every:
        action = functools.partial(_report, config, shutdown, held_out, run.previews.example())
        jobs.append(Every(options.report_every, action))
    if evaluator and options.eval_every:
        jobs.append(Every(options.eval_every, functools.partial(_evaluate, config, evaluator)))
    return [
        Every(options.log_every, monitor.log),
        _side_work(config, bool(evaluator), jobs),
        _save(options.save_every),
        *callbacks,
    ]


def _side_work(config: Config, evaluates: bool, jobs: Sequence[Every]) -> Hook:
    """Reports and evaluations, within `run.side_share` of the time."""
    options = config.run
    intervals = (options.report_every, options.eval_every if evaluates else 0)
    shortest = min([seconds for seconds in intervals if seconds], default=0)
    work, told = SideWork(options.side_share, jobs), False

    def hook(run: Run) -> None:
        nonlocal told
        if run.drawing.busy:
            return
        if drawn := run.drawing.check():
            work.count(drawn)
        seconds, pause = work(run)
        if pause > shortest and not told:
            told = True
            run.logger.note(
                f"A report or evaluation took {seconds:.1f} seconds, so the next one waits "
                f"{pause:.0f} seconds or more: together they may take run.side_share "
                f"{options.side_share:g} of the time."
            )

    return hook


def _report(
    config: Config, shutdown: Shutdown, held_out: HeldOut | None, example: Arrays, run: Run
) -> bool:
    """Reports on batches of replay, as soon as that takes no compiling."""
    assert run.learner
    if not run.replay.ready(config.batch_size) or not run.learner.ready("report", example):
        return False
    with shutdown.interruptible():
        count = config.run.report_batches
        report(run.learner, run.previews, run.logger, run.folder.root, count, draw=run.drawing)
        if held_out:
            held_out.report(run.learner, run.logger, run.drawing)
    return True


def _evaluate(config: Config, evaluator: Evaluator, run: Run) -> None:
    done = run.progress
    if run.learner:  # Steps may come from something else than the policy.
        run.policy.set_params(run.learner.acting())
    number, done.evaluations = done.evaluations, done.evaluations + 1
    evaluator.run(build.eval_seed(config.seed, number))


def _save(seconds: float) -> Hook:
    """Starts a save now and then; the time until the next counts from the end of a save."""
    save = Every(seconds or -1.0, Run.save)

    def hook(run: Run) -> None:
        save(run)
        run.saver.check()
        if run.saver.busy:
            save.restart()

    return hook
