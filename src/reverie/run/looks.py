"""Looks at what an agent has learned while it learns: reports and evaluations."""

from reverie.config import Config
from reverie.run import build
from reverie.run.evaluate import Evaluator
from reverie.run.held_out import HeldOut
from reverie.run.parts import Parts
from reverie.run.report import report
from reverie.run.shutdown import Shutdown
from reverie.track import Every, SideWork


class Looks:
    """Reports and evaluates now and then, within `run.side_share` of the time.

    Args:
        config: Resolved configuration.
        parts: What the run is made of.
        shutdown: Ends a look early.
        evaluator: Plays the evaluations, if there are any.
        held_out: Reports on their episodes.
    """

    def __init__(
        self,
        config: Config,
        parts: Parts,
        shutdown: Shutdown,
        evaluator: Evaluator | None = None,
        held_out: HeldOut | None = None,
    ):
        self._config = config
        self._parts = parts
        self._shutdown = shutdown
        self._evaluator = evaluator
        self._held_out = held_out
        run, jobs = config.run, []
        if parts.learner and run.report_every:
            self._example = parts.previews.example()
            jobs.append(Every(run.report_every, self._report))
        if evaluator and run.eval_every:
            jobs.append(Every(run.eval_every, self._evaluate))
        intervals = (run.report_every, run.eval_every if evaluator else 0)
        self._shortest = min([seconds for seconds in intervals if seconds], default=0)
        self._side = SideWork(run.side_share, jobs)
        self._told = False

    def __call__(self) -> None:
        """Does what is due.

        Raises:
            Stopped: When a signal arrives meanwhile.
        """
        painter = self._parts.painter
        if painter.busy:
            return
        if drawn := painter.check():
            self._side.count(drawn)
        seconds, pause = self._side()
        if pause > self._shortest and not self._told:
            self._told = True
            self._parts.logger.note(
                f"A report or evaluation took {seconds:.1f} seconds, so the next one waits "
                f"{pause:.0f} seconds or more: together they may take run.side_share "
                f"{self._config.run.side_share:g} of the time."
            )

    def _report(self) -> bool:
        """Reports on batches of replay, as soon as that takes no compiling."""
        parts, run = self._parts, self._config.run
        assert parts.learner
        if not parts.replay.ready(self._config.batch_size):
            return False
        if not parts.learner.ready("report", self._example):
            return False
        with self._shutdown.interruptible():
            root, count, draw = parts.folder.root, run.report_batches, parts.painter
            report(parts.learner, parts.previews, parts.logger, root, count, draw=draw)
            if self._held_out:
                self._held_out.report(parts.learner, parts.logger, draw)
        return True

    def _evaluate(self) -> None:
        assert self._evaluator
        done = self._parts.progress
        number, done.evaluations = done.evaluations, done.evaluations + 1
        self._evaluator.run(build.eval_seed(self._config.seed, number))
