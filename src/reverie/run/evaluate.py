"""Plays whole episodes and reports their returns."""

import time
from collections.abc import Callable
from typing import Any, Literal

import numpy as np

from reverie.envs import VectorEnv
from reverie.run.driver import Actor, Callback, Driver
from reverie.run.result import Evaluation
from reverie.run.shutdown import Shutdown, Stopped
from reverie.track import Achievements, EpisodeStats, Logger

PATIENCE = 120.0
"""Seconds without the end of an episode after which the user is told."""


class Evaluator:
    """Evaluates an agent and logs the episodes under `eval/`.

    Args:
        envs: Environments of the evaluation alone.
        policy: Chooses the actions.
        logger: Receives the episodes.
        episodes: Number of episodes per evaluation.
        callbacks: Called with every transition.
        shutdown: Ends an evaluation early.
    """

    def __init__(
        self,
        envs: VectorEnv,
        policy: Actor,
        logger: Logger,
        episodes: int,
        callbacks: tuple[Callback, ...] = (),
        shutdown: Shutdown | None = None,
    ):
        self._envs = envs
        self._policy = policy
        self._logger = logger
        self._episodes = episodes
        self._callbacks = callbacks
        self._shutdown = shutdown

    def run(self, seed: int) -> Evaluation | None:
        """Plays the episodes.

        Args:
            seed: Decides which ones, as far as the environments follow their seeds.

        Returns:
            Those that ended before the run had to; None if there are none.

        Raises:
            Stopped: When a signal arrives.
        """
        result, records = evaluate(
            self._policy,
            self._envs,
            self._episodes,
            self._callbacks,
            seed=seed,
            shutdown=self._shutdown,
            note=self._logger.note,
        )
        for record in records:
            self._logger.add(record, prefix="eval")
        self._logger.add(result.achievements, prefix="eval")
        self._logger.add({"eval/env/restarts": self._envs.restarts})
        if len(records) < self._episodes:
            self._logger.note(
                f"The time of the run was up after {len(records)} of {self._episodes} episodes of "
                "an evaluation."
            )
        return result if records else None


def evaluate(
    policy: Actor,
    envs: VectorEnv,
    episodes: int,
    callbacks: tuple[Callback, ...] = (),
    *,
    seed: int | None = None,
    mode: Literal["train", "eval"] = "eval",
    shutdown: Shutdown | None = None,
    note: Callable[[str], object] = lambda text: None,
) -> tuple[Evaluation, list[dict[str, Any]]]:
    """Plays episodes.

    Every environment plays a fixed number of episodes. Taking whichever episodes end first would
    favour short ones, which in many tasks are the bad ones. An episode in which an environment
    broke does not count: another one is played.

    Args:
        policy: Chooses the actions.
        envs: Environments; they are reset at the start and idle at the end.
        episodes: Number of episodes in total, at least 1.
        callbacks: Called with every transition.
        seed: Seed of the environments' first episodes; None keeps those that they were made with.
        mode: How actions are chosen.
        shutdown: Ends the evaluation early, with the episodes that have ended so far.
        note: Told if no episode ends for long.

    Returns:
        Scores and lengths, and the full record of every episode for the logger.

    Raises:
        Stopped: When a signal arrives.
    """
    if episodes < 1:
        raise ValueError(f"An evaluation needs at least one episode, got {episodes}.")
    missing = np.full(envs.num_envs, episodes // envs.num_envs)
    missing[: episodes % envs.num_envs] += 1
    shutdown = shutdown or Shutdown()
    driver = Driver(
        envs, policy, mode=mode, callbacks=callbacks, seed=seed, waiting=shutdown.interruptible
    )
    stats, achievements = EpisodeStats(envs.num_envs), Achievements()
    records, limit = [], time.monotonic() + PATIENCE
    while missing.any() and not shutdown.over:
        transition = driver.step()
        ended = np.flatnonzero(transition["is_last"])
        for index, record in zip(ended, stats.add(transition), strict=True):
            if missing[index]:
                missing[index] -= 1
                records.append(record)
                achievements.add(record)
        if len(ended):
            limit = time.monotonic() + PATIENCE
        elif time.monotonic() > limit:
            note(_endless(stats.longest))
            limit = np.inf
    if shutdown.requested:
        raise Stopped
    if not shutdown.over:
        driver.finish()
    scores = tuple(record["episode/score"] for record in records)
    lengths = tuple(record["episode/length"] for record in records)
    return Evaluation(scores, lengths, achievements.metrics()), records


def _endless(longest: int) -> str:
    return (
        f"No episode of an evaluation has ended for {PATIENCE:g} seconds (longest so far "
        f"{longest:,} steps). run.eval_max_steps cuts episodes that go on for ever."
    )
