"""Plays whole episodes and reports their returns."""

from typing import Any

import numpy as np

from reverie.envs import VectorEnv
from reverie.run.driver import Actor, Callback, Driver
from reverie.run.result import Evaluation
from reverie.track import Achievements, EpisodeStats, Logger


class Evaluator:
    """Evaluates an agent and logs the episodes under `eval/`.

    Args:
        envs: Environments of the evaluation alone.
        actor: Chooses the actions.
        logger: Receives the episodes.
        episodes: Number of episodes per evaluation.
        callbacks: Called with every transition.
    """

    def __init__(
        self,
        envs: VectorEnv,
        actor: Actor,
        logger: Logger,
        episodes: int,
        callbacks: tuple[Callback, ...] = (),
    ):
        self._envs = envs
        self._actor = actor
        self._logger = logger
        self._episodes = episodes
        self._callbacks = callbacks

    def run(self) -> Evaluation:
        """Plays the episodes."""
        result, records = evaluate(self._actor, self._envs, self._episodes, self._callbacks)
        for record in records:
            self._logger.add(record, prefix="eval")
        self._logger.add(result.achievements, prefix="eval")
        self._logger.add({"eval/env/restarts": self._envs.restarts})
        return result


def evaluate(
    actor: Actor, envs: VectorEnv, episodes: int, callbacks: tuple[Callback, ...] = ()
) -> tuple[Evaluation, list[dict[str, Any]]]:
    """Plays episodes with `mode='eval'`.

    Every environment plays a fixed number of episodes. Taking whichever episodes end first would
    favour short ones, which in many tasks are the bad ones. An episode in which an environment
    broke does not count: another one is played.

    Args:
        actor: Chooses the actions.
        envs: Environments; they are reset at the start and idle at the end.
        episodes: Number of episodes in total, at least 1.
        callbacks: Called with every transition.

    Returns:
        Scores and lengths, and the full record of every episode for the logger.
    """
    if episodes < 1:
        raise ValueError(f"An evaluation needs at least one episode, got {episodes}.")
    missing = np.full(envs.num_envs, episodes // envs.num_envs)
    missing[: episodes % envs.num_envs] += 1
    driver = Driver(envs, actor, mode="eval", callbacks=callbacks)
    stats, achievements = EpisodeStats(envs.num_envs), Achievements()
    records = []
    while missing.any():
        transition = driver.step()
        ended = np.flatnonzero(transition["is_last"])
        for index, record in zip(ended, stats.add(transition), strict=True):
            if missing[index]:
                missing[index] -= 1
                records.append(record)
                achievements.add(record)
    driver.finish()
    scores = tuple(record["episode/score"] for record in records)
    lengths = tuple(record["episode/length"] for record in records)
    return Evaluation(scores, lengths, achievements.metrics()), records
