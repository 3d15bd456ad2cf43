"""A policy that acts at random, as a baseline and to test environments without a model."""

from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np

from reverie.envs import valid_actions
from reverie.spaces import Space, mask_keys

Arrays = dict[str, np.ndarray]


class RandomActor:
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
    def platform(self) -> str:
        """None: it draws with numpy."""
        return ""

    @property
    def counters(self) -> dict[str, int]:
        """Counts that determine the next draws; belongs into every checkpoint."""
        return {"calls": self._calls}

    @property
    def array_names(self) -> set[str]:
        """A random policy has no parameters to save."""
        return set()

    def snapshot(self) -> Callable[[], Arrays]:
        """Gives no arrays."""
        return dict

    def held(self) -> Callable[[], Arrays]:
        """Nothing decides the next draws but the counters."""
        return dict

    def take_back(self, arrays: Arrays) -> None:
        """Takes nothing."""

    def load_arrays(self, arrays: Arrays, counters: Mapping[str, int] | None = None) -> None:
        """Goes on where `counters` was saved."""
        self._calls = counters["calls"] if counters else 0

    def init_policy(self, num_envs: int) -> Any:
        """A random policy remembers nothing."""
        return None

    def policy(
        self, carry: Any, obs: Arrays, mode: Literal["train", "eval"] = "train"
    ) -> tuple[Any, Arrays, Arrays]:
        """Returns the carry, random actions [N, ...] and no latents."""
        rng = np.random.default_rng((self._seed, self._calls))
        self._calls += 1
        count = len(obs["is_first"])
        actions = {k: _draw(s, rng, count) for k, s in self._act_space.items()}
        return carry, actions | valid_actions(self._act_space, self._masks, obs, rng, count), {}


def _draw(space: Space, rng: np.random.Generator, count: int) -> np.ndarray:
    if space.kind == "discrete":
        flat = rng.integers(0, space.classes, (count, space.size))
        return flat.reshape(count, *space.shape).astype(space.dtype)
    return rng.uniform(-1, 1, (count, *space.shape)).astype(space.dtype)
