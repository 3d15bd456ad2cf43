"""Numbers about a run on their way to the logger."""

import time
from collections.abc import Mapping

import numpy as np

from reverie.envs import VectorEnv
from reverie.run.driver import Driver
from reverie.run.setup import Run
from reverie.track import Achievements, EpisodeStats, Logger, Rates, usage

MUCH = 0.5
"""Share of the time in environments from which a run says how to step them in parallel."""


class Monitor:
    """Counts what the loop does and logs it.

    Args:
        logger: Receives finished episodes at once and everything else at `log`.
        envs: Training environments.
        driver: Steps them.
        batch_steps: Replayed steps per update.
        achievements: Counts the episodes of the whole run.
    """

    def __init__(
        self,
        logger: Logger,
        envs: VectorEnv,
        driver: Driver,
        batch_steps: int,
        achievements: Achievements,
    ):
        self._logger = logger
        self._envs = envs
        self._driver = driver
        self._start, self._waited = time.monotonic(), 0.0
        self._advised = False
        self._batch_steps = batch_steps
        self._achievements = achievements
        self._episodes = EpisodeStats(envs.num_envs)
        self._rates = Rates()
        self._ended = self._told = False

    def acted(self, transition: Mapping[str, np.ndarray]) -> int:
        """Takes a transition [N, ...]; returns the number of episodes that it finished."""
        records = self._episodes.add(transition)
        for record in records:
            self._logger.add(record)
            self._achievements.add(record)
        self._rates.count(policy=len(transition["is_first"]))
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
        self._logger.add({"env/restarts": self._envs.restarts, "env/waiting": self._waiting(run)})
        self._logger.add(usage())
        self._logger.add(self._rates.result())
        self._logger.write()
        if not self._told:
            self._told = True
            self.explain()

    def _waiting(self, run: Run) -> float:
        """Share of the time since the last call in which everything waited for environments."""
        seconds, waited = time.monotonic() - self._start, self._driver.waited - self._waited
        self._start, self._waited = time.monotonic(), self._driver.waited
        share = waited / max(seconds, 1e-6)
        alone = self._envs.backend == "sync" and self._envs.num_envs > 1
        if alone and run.updates and share > MUCH and not self._advised:
            self._advised = True
            self._logger.note(
                f"Training waits for environments {share:.0%} of the time: --run.env_backend async "
                "steps each of them in a process of its own."
            )
        return share
