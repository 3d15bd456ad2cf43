"""A policy that acts at random, as a baseline and to test environments without a model."""

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from reverie.actors.collector import Arrays
from reverie.envs.flat.leaves import random_actions
from reverie.envs.flat.masks import valid_actions
from reverie.learner.policy import Params
from reverie.spaces import Space, mask_keys


class RandomPolicy:
    """Draws every action uniformly: classes of discrete keys, [-1, 1] of continuous ones.

    Args:
        act_space: Action keys.
        seed: Every call draws from the seed and the number of calls before it.
        obs_space: Observation keys, which may hold action masks.
    """

    def __init__(
        self,
        act_space: Mapping[str, Space],
        seed: int,
        obs_space: Mapping[str, Space] | None = None,
    ):
        self._masks = mask_keys(obs_space or {}, act_space)
        self._act_space = dict(sorted(act_space.items()))
        self._seed = seed
        self._calls = 0

    @property
    def counters(self) -> dict[str, int]:
        """Counts that determine the next draws; belongs into every checkpoint."""
        return {"calls": self._calls}

    def restore(self, counters: Mapping[str, int]) -> None:
        """Goes on where `counters` was taken."""
        self._calls = counters.get("calls", self._calls)

    def set_params(self, params: Params) -> None:
        """It has no parameters."""

    def prepare(self, num: int, mode: Literal["train", "eval"] = "train") -> None:
        """There is nothing to compile."""

    def init(self, num: int) -> None:
        """It remembers nothing."""

    def act(
        self, carry: Any, obs: Arrays, mode: Literal["train", "eval"] = "train"
    ) -> tuple[Any, Arrays, Arrays]:
        """Returns the carry, random actions [N, ...] and no latents."""
        rng = np.random.default_rng((self._seed, self._calls))
        self._calls += 1
        count = len(obs["is_first"])
        actions = random_actions(self._act_space, count, rng)
        return carry, actions | valid_actions(self._act_space, self._masks, obs, rng, count), {}
