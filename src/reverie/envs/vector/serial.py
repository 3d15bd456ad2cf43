"""Environments in this process, one after another.

It does what `gymnasium.vector.SyncVectorEnv` does and costs less: observations go straight into the
arrays that are handed out, actions are rows of the arrays that come in, and nothing is looked up in
the spaces at every step.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np

from reverie.envs.flat.conform import SpacePair, require_same
from reverie.envs.flat.leaves import describe_all
from reverie.envs.flat.logs import stack, tell
from reverie.envs.vector.restarts import RESTARTED, Restarting, Restarts

Arrays = dict[str, np.ndarray]


class SerialVectorEnv:
    """N environments that step in turn, with NEXT_STEP autoreset.

    Args:
        factories: One function per environment; `wrappers.wrap` is applied where it was not.
        seeds: Seeds of the first resets, from which those after restarts derive.
        restarts: Decides about restarts of environments that raised.

    Raises:
        SpaceError: The environments have different spaces.
    """

    def __init__(
        self,
        factories: Sequence[Callable[[], gymnasium.Env]],
        seeds: Sequence[int] | None,
        restarts: Restarts,
    ):
        self.num_envs = len(factories)
        self._envs: list[gymnasium.Env] = []
        self._closed, self._told = False, set()
        try:
            for index, factory in enumerate(factories):
                seed = seeds[index] if seeds else None
                self._envs.append(Restarting(index, factory, restarts, seed))
                require_same(index, *(_spaces(self._envs[each]) for each in (index, 0)))
        except BaseException:
            self.close()
            raise
        self.single_observation_space = self._envs[0].observation_space
        self.single_action_space = self._envs[0].action_space
        spaces = describe_all(self.single_observation_space)
        self._layout = [(k, (self.num_envs, *s.shape), s.dtype) for k, s in spaces.items()]
        self._over = [False] * self.num_envs

    def reset(self, *, seed: Sequence[int] | None = None) -> tuple[Arrays, dict[str, Any]]:
        """Starts an episode everywhere; returns observations [N, ...] by key, and infos."""
        obs, infos = self._empty(), []
        for index, env in enumerate(self._envs):
            found, info = env.reset(seed=seed[index] if seed else None)
            infos.append(info)
            for key, array in obs.items():
                array[index] = found[key]
        self._over = [False] * self.num_envs
        return obs, _combine(infos, self._told)

    def step(
        self, actions: Mapping[str, np.ndarray]
    ) -> tuple[Arrays, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Moves every environment by one step.

        Args:
            actions: Arrays [N, ...] by key.

        Returns:
            Observations [N, ...] by key, rewards float64 [N], terminations and truncations
            bool [N], infos; all of them fresh arrays.
        """
        obs, infos = self._empty(), []
        rewards, terminated, truncated = [], [], []
        rows = list(actions.items())
        for index, env in enumerate(self._envs):
            if self._over[index]:
                found, info = env.reset()
                reward, dead, late = 0.0, False, False
            else:
                action = {key: array[index] for key, array in rows}
                found, reward, dead, late, info = env.step(action)
            self._over[index] = dead or late
            rewards.append(reward)
            terminated.append(dead)
            truncated.append(late)
            infos.append(info)
            for key, array in obs.items():
                array[index] = found[key]
        flags = np.array(terminated, bool), np.array(truncated, bool)
        return obs, np.array(rewards), *flags, _combine(infos, self._told)

    def close(self) -> None:
        """Closes the environments; a second call does nothing."""
        if self._closed:
            return
        self._closed = True
        for env in self._envs:
            env.close()

    def _empty(self) -> Arrays:
        return {key: np.empty(shape, dtype) for key, shape, dtype in self._layout}


def _spaces(env: gymnasium.Env) -> SpacePair:
    return env.observation_space, env.action_space


def _combine(infos: Sequence[dict[str, Any]], told: set[str]) -> dict[str, Any]:
    """The infos of all environments, in the form of `ProcessVectorEnv`, without warnings."""
    if not any(infos):
        return {}
    tell(infos, told)
    combined = stack(infos)
    combined.pop("_" + RESTARTED, None)
    if RESTARTED in combined:
        combined[RESTARTED] = combined[RESTARTED] > 0
    return combined
