"""Plays whole episodes and returns their scores."""

import dataclasses
import pathlib
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np

from reverie.actors.collector import Rollout
from reverie.actors.host import Actor, HostCollector
from reverie.envs.vector.vector import VectorEnv
from reverie.spaces import PICTURE
from reverie.track.achievements import Achievements
from reverie.track.stats import EpisodeStats

PATIENCE = 120.0
"""Seconds without the end of an episode after which the user is told."""

Callback = Callable[[Rollout], object]


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """Finished episodes of an evaluation.

    Args:
        scores: Sum of rewards of every episode.
        lengths: Number of actions of every episode.
        achievements: Success rates and the score made of them, in percent, by metric name; see
            `reverie.track.achievements.Achievements`. Empty in environments without achievements.
        video: The film of the episodes, if `TrainedAgent.evaluate` was asked for one.
    """

    scores: tuple[float, ...]
    lengths: tuple[int, ...]
    achievements: Mapping[str, float] = dataclasses.field(default_factory=dict)
    video: pathlib.Path | None = None

    @property
    def mean_score(self) -> float:
        """Mean over the episodes."""
        return float(np.mean(self.scores))

    @property
    def std_score(self) -> float:
        """Standard deviation over the episodes."""
        return float(np.std(self.scores))

    def to_json(self) -> dict[str, Any]:
        """Plain values for `evaluation.json`."""
        return {
            "episodes": len(self.scores),
            "score_mean": self.mean_score,
            "score_std": self.std_score,
            "length_mean": float(np.mean(self.lengths)),
            "scores": list(self.scores),
            "lengths": list(self.lengths),
            **self.achievements,
        }

    def __str__(self) -> str:
        spread = f"{self.mean_score:.4g} +- {self.std_score:.2g}"
        text = f"mean return {spread} over {len(self.scores)} episodes"
        score = self.achievements.get("achievement/score")
        return text if score is None else f"{text}, achievement score {score:.4g}%"


def evaluate(
    policy: Actor,
    envs: VectorEnv,
    episodes: int,
    callbacks: Sequence[Callback] = (),
    *,
    seed: int | None = None,
    mode: Literal["train", "eval"] = "eval",
    over: Callable[[], bool] = lambda: False,
    note: Callable[[str], object] = lambda text: None,
) -> tuple[Evaluation, list[dict[str, Any]]]:
    """Plays episodes.

    Every environment plays a fixed number of episodes. Taking whichever episodes end first would
    favour short ones, which in many tasks are the bad ones. An episode in which an environment
    broke does not count: another one is played.

    Args:
        policy: Chooses the actions.
        envs: Environments; they are reset at the start.
        episodes: Number of episodes in total, at least 1.
        callbacks: Called with every rollout.
        seed: Seed of the environments' first episodes; None keeps those that they were made with.
        mode: How actions are chosen.
        over: Ends the evaluation early, with the episodes that have ended so far.
        note: Told if no episode ends for long.

    Returns:
        Scores and lengths, and the full record of every episode for the logger.
    """
    if episodes < 1:
        raise ValueError(f"An evaluation needs at least one episode, got {episodes}.")
    missing = shares(episodes, envs.num_envs)
    collector = HostCollector(envs, policy, mode=mode, seed=seed)
    stats, achievements = EpisodeStats(envs.num_envs), Achievements()
    records, limit = [], time.monotonic() + PATIENCE
    while missing.any() and not over():
        rollout = collector.collect()
        for callback in callbacks:
            callback(rollout)
        (transition,) = rollout.rows()
        transition.pop(PICTURE, None)  # It is for films alone.
        ended = np.flatnonzero(transition["is_last"])
        for index, record in zip(ended, stats.add(transition), strict=True):
            if missing[index]:
                missing[index] -= 1
                records.append(record)
                achievements.add(record)
        if len(ended):
            limit = time.monotonic() + PATIENCE
        elif time.monotonic() > limit:
            note(
                f"No episode of an evaluation has ended for {PATIENCE:g} seconds (longest so far "
                f"{stats.longest:,} steps). run.eval_max_steps cuts episodes that go on for ever."
            )
            limit = np.inf
    scores = tuple(record["episode/score"] for record in records)
    lengths = tuple(record["episode/length"] for record in records)
    return Evaluation(scores, lengths, achievements.metrics()), records


def shares(episodes: int, envs: int) -> np.ndarray:
    """How many of the episodes of an evaluation each environment plays, int64 [envs]."""
    return np.array([len(range(index, episodes, envs)) for index in range(envs)])
