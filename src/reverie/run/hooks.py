"""What a run does now and then: log, report, evaluate, save, and what its user asks for."""

import functools
import time
from collections.abc import Callable, Sequence

from reverie.actors.collector import Arrays
from reverie.clocks import Every
from reverie.run.monitor import Monitor
from reverie.run.parts.state import Run
from reverie.run.reports.evaluation import Evaluations
from reverie.run.reports.report import report

Hook = Callable[[Run], object]
"""Is called with the run after every step of the loop."""


def make_hooks(
    run: Run,
    monitor: Monitor,
    evaluations: Evaluations | None,
    callbacks: Sequence[Hook],
) -> list[Hook]:
    """Everything that happens by the clock, in the order in which it happens."""
    options, jobs = run.config.run, []
    if not run.together.hosts.first:  # The first process saves and reports for all.
        return [Every(options.log_every, monitor.log), lambda _: run.saver.check(), *callbacks]
    if run.learner and options.report_every:
        action = functools.partial(_report, evaluations, run.previews.example())
        jobs.append((options.report_every, action))
    if evaluations and options.eval_every:
        jobs.append((options.eval_every, evaluations.play))
    return [
        Every(options.log_every, monitor.log),
        SideWork(options.side_share, jobs),
        _save(options.save_every),
        *callbacks,
    ]


class SideWork:
    """Does several things, each once per interval, within a share of the wall clock; a hook.

    After some of them took a while, all of them wait until that while is no more than the share
    of the time that has passed since they began. The first time that this is longer than their
    intervals, the user is told.

    Args:
        share: Most of the time that they may take together, above 0; 1 is no limit.
        jobs: Seconds of the intervals, and what to do.
        clock: Returns the time in seconds.
    """

    def __init__(
        self,
        share: float,
        jobs: Sequence[tuple[float, Hook]],
        clock: Callable[[], float] = time.monotonic,
    ):
        self._share, self._clock, self._free = share, clock, clock()
        self._jobs = [Every(*job, clock) for job in jobs]
        self._shortest = min((seconds for seconds, _ in jobs), default=0.0)
        self._told = False

    def __call__(self, run: Run) -> None:
        start = self._clock()
        # All that is due in a row, so that none of them can keep the others from their turn.
        if start < self._free or not sum([job(run) for job in self._jobs]):
            return
        seconds = self._clock() - start
        pause = seconds * (1 / self._share - 1)
        self._free = self._clock() + pause
        if pause > self._shortest and not self._told:
            self._told = True
            run.logger.note(
                f"A report or evaluation took {seconds:.1f} seconds, so the next one waits "
                f"{pause:.0f} seconds or more: together they may take run.side_share "
                f"{self._share:g} of the time."
            )


def _report(evaluations: Evaluations | None, example: Arrays, run: Run) -> bool:
    """Reports on batches of replay, as soon as that takes no compiling."""
    assert run.learner
    if not run.replay.ready(run.share.batch_size) or not run.learner.ready("report", example):
        return False
    with run.shutdown.interruptible():
        to = (run.logger, run.folder.root, run.config.run.report_batches)
        report(run.learner, run.previews, *to, step=run.steps)
        if evaluations:
            evaluations.report(run)
    return True


def _save(seconds: float) -> Hook:
    """Starts a save now and then; the time until the next counts from the end of a save."""
    save = Every(seconds or -1.0, Run.save)

    def hook(run: Run) -> None:
        save(run)
        run.saver.check()
        if run.saver.busy:
            save.restart()

    return hook
