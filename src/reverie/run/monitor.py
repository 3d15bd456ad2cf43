"""Numbers about a run on their way to the logger."""

import time

from reverie.actors.collector import Collector, Rollout
from reverie.actors.host import HostCollector
from reverie.run.state import Run
from reverie.track.rates import Rates
from reverie.track.stats import EpisodeStats
from reverie.track.usage import usage

MUCH = 0.5
"""Share of the time in environments from which a run says how to step them in parallel."""


class Monitor:
    """Counts what the loop does and logs it: finished episodes at once, all else at `log`.

    Args:
        run: What the run is made of.
        collector: Makes the steps; that of this package also tells what it waits for.
    """

    def __init__(self, run: Run, collector: Collector):
        self._logger = run.logger
        self._host = collector if isinstance(collector, HostCollector) else None
        self._start, self._waited = time.monotonic(), 0.0
        self._advised = False
        self._batch_steps = run.config.batch_size * run.config.batch_length
        self._achievements = run.progress.achievements
        self._episodes = EpisodeStats(0)
        self._rates = Rates()
        self._ended = self._told = False

    def acted(self, rollout: Rollout) -> int:
        """Takes new steps; returns the number of episodes that they finished."""
        records = [x for row in rollout.rows() for x in self._episodes.add(row, rollout.streams)]
        for record in records:
            self._logger.add(record)
            self._achievements.add(record)
        self._rates.count(policy=rollout.size)
        self._ended |= bool(records)
        return len(records)

    def updated(self, updates: int) -> None:
        """Counts updates."""
        self._rates.count(train=updates * self._batch_steps, updates=updates)

    def explain(self) -> None:
        """Says why there is no score, if no episode has ended yet."""
        if not self._ended and self._episodes.longest:
            self._logger.note(
                f"No episode has ended yet (longest so far {self._episodes.longest:,} steps), so "
                "there is no score."
            )

    def log(self, run: Run) -> None:
        """Writes the means over the time since the last call, also of updates and replay."""
        for metrics in run.learner.pop_metrics() if run.learner else ():
            self._logger.add(metrics, prefix="train")
        self._logger.add(run.replay.stats(), prefix="replay")
        self._logger.add(self._achievements.metrics())
        if self._host:
            waiting = self._waiting(run, self._host)
            self._logger.add({"env/restarts": self._host.envs.restarts, "env/waiting": waiting})
        self._logger.add(usage())
        self._logger.add(self._rates.result())
        self._logger.write()
        if not self._told:
            self._told = True
            self.explain()

    def _waiting(self, run: Run, host: HostCollector) -> float:
        """Share of the time since the last call in which everything waited for environments."""
        seconds, waited = time.monotonic() - self._start, host.waited - self._waited
        self._start, self._waited = time.monotonic(), host.waited
        share = waited / max(seconds, 1e-6)
        alone = host.envs.backend == "sync" and host.envs.num_envs > 1
        if alone and run.updates and share > MUCH and not self._advised:
            self._advised = True
            self._logger.note(
                f"Training waits for environments {share:.0%} of the time: --run.env_backend async "
                "steps each of them in a process of its own."
            )
        return share
