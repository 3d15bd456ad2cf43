"""Numbers about a run on their way to the logger."""

import time

import jax
import numpy as np

from reverie.actors.collector import Collector, Rollout
from reverie.agent.training.optimizer import learning_rate
from reverie.config.sections.agent import OptimizerConfig
from reverie.learner.learner import Learner
from reverie.run.parts.state import Run
from reverie.run.planning.device_memory import device_usage
from reverie.track.rates import Rates
from reverie.track.stats import EpisodeStats
from reverie.track.usage import usage

_rate = jax.jit(learning_rate, static_argnums=1)
"""Operation by operation it would be nine programs."""

COUNTS = ("opt/updates", "opt/param_count")
"""Metrics of an update whose mean would mean nothing."""

MUCH = 0.5
"""Share of the time in environments from which a run says what makes their steps faster."""


class Monitor:
    """Counts what the loop does and logs it: finished episodes at once, all else at `log`.

    Args:
        run: What the run is made of.
        collector: Makes the steps; its `metrics()` are logged and its `advice` is told, if it has
            them.
    """

    def __init__(self, run: Run, collector: Collector):
        self._logger = run.logger
        self._collector = collector
        self._start, self._spent = time.perf_counter(), run.spent
        self._advised = False
        self._batch_steps = run.config.batch_size * run.config.batch_length
        self._achievements = run.progress.achievements
        self._episodes = EpisodeStats(0)
        self._rates = Rates()
        self._ended, self._told = False, 0

    def acted(self, rollout: Rollout, steps: int) -> int:
        """Takes new steps; returns the number of episodes that they finished.

        Args:
            rollout: The steps of this process.
            steps: How many there are with those of the others.
        """
        for stream in rollout.ended:
            self._episodes.forget(stream)
        records = [x for row in rollout.rows() for x in self._episodes.add(row, rollout.streams)]
        for record in records:
            self._logger.add(record)
            self._achievements.add(record)
        # What a reset returns has no reward.
        moved = ~rollout.steps["is_first"]
        if moved.any():
            self._logger.add({"env/reward": rollout.steps["reward"][moved].mean()})
        self._rates.count(policy=steps)
        self._ended |= bool(records)
        return len(records)

    def updated(self, updates: int) -> None:
        """Counts updates."""
        self._rates.count(train=updates * self._batch_steps, updates=updates)

    def explain(self) -> None:
        """Says why there is no score, if no episode has ended yet."""
        longest = self._episodes.longest
        if not self._ended and longest != self._told:
            self._told = longest
            self._logger.note(
                f"No episode has ended yet (longest so far {longest:,} steps), so there is no "
                "score. The metric env/reward is the mean reward of a step."
            )

    def log(self, run: Run) -> None:
        """Writes the means over the time since the last call, also of updates and replay."""
        if run.learner:
            self._log_updates(run.learner, run.config.agent.opt)
        self._logger.add(run.replay.stats(), prefix="replay")
        self._logger.add(self._achievements.metrics())
        shares = self._shares(run)
        self._logger.add(shares)
        if metrics := getattr(self._collector, "metrics", None):
            self._logger.add(metrics())
        self._advise(run, shares["time/environment"])
        self._logger.add({**usage(), "usage/elapsed": run.progress.elapsed})
        if run.config.repeat > 1:
            self._logger.add({"env/frames": run.steps * run.config.repeat})
        self._logger.add(self._rates.result())
        self._logger.write()
        if not self._told:
            self.explain()

    def _log_updates(self, learner: Learner, options: OptimizerConfig) -> None:
        """Means over updates, but for what only counts, and the learning rate of the newest."""
        updates = learner.pop_metrics()
        for metrics in updates:
            means = {k: x for k, x in metrics.items() if metrics is updates[-1] or k not in COUNTS}
            self._logger.add(means, prefix="train")
        if updates:
            number = np.int32(updates[-1]["opt/updates"] - 1)
            self._logger.add({"train/opt/lr": float(_rate(number, options))})
        self._logger.add(device_usage(learner))

    def _shares(self, run: Run) -> dict[str, float]:
        """Shares of the time since the last call that the parts of the loop took."""
        # Clocks of the parts are read in between, so that these are never more than the whole.
        before, start, self._start = self._spent, self._start, time.perf_counter()
        now = self._spent = run.spent
        seconds = max(time.perf_counter() - start, 1e-6)
        return {f"time/{part}": (now[part] - before[part]) / seconds for part in now}

    def _advise(self, run: Run, share: float) -> None:
        """Says once what makes steps faster, if waiting for them takes most of the time."""
        advice = getattr(self._collector, "advice", "")
        if advice and run.updates and share > MUCH and not self._advised:
            self._advised = True
            self._logger.note(f"Training waits for environments {share:.0%} of the time: {advice}")
