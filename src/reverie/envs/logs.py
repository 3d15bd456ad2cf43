"""Metrics that environments put into `info` under keys starting with `log/`."""

from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np

from reverie.envs.conform import name_of
from reverie.envs.errors import ValueMismatchError
from reverie.spaces import LOG_PREFIX

NO_LOGS: dict[str, float] = {}


class OnlyLogs(gymnasium.Wrapper):
    """Reduces `info` to its `log/` keys as plain floats, so that little crosses processes."""

    def __init__(self, env: gymnasium.Env):
        super().__init__(env)
        self._name = name_of(env)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, float]]:
        """Starts an episode."""
        obs, info = self.env.reset(seed=seed, options=options)
        return obs, self._logs(info)

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, float]]:
        """One step."""
        obs, reward, terminated, truncated, info = self.env.step(action)
        return obs, float(reward), terminated, truncated, self._logs(info)

    def _logs(self, info: Mapping[str, Any]) -> dict[str, float]:
        logs = NO_LOGS
        for key in info:
            if isinstance(key, str) and key.startswith(LOG_PREFIX):
                logs = logs or {}
                logs[key] = self._number(key, info[key])
        return logs

    def _number(self, key: str, value: Any) -> float:
        if np.ndim(value) == 0:
            try:
                return float(value)
            except (TypeError, ValueError):
                pass
        raise ValueMismatchError(
            f"{self._name}: info[{key!r}] is {value!r}. Return a number; declare arrays and images "
            "in the observation space under a name starting with 'log/'."
        )


def stack(logs: Sequence[Mapping[str, float]]) -> dict[str, np.ndarray]:
    """Infos of N environments in gymnasium's form: `key` float32 [N] and `_key` bool [N]."""
    infos: dict[str, np.ndarray] = {}
    for index, entries in enumerate(logs):
        for key, value in entries.items():
            if key not in infos:
                infos[key] = np.zeros(len(logs), np.float32)
                infos["_" + key] = np.zeros(len(logs), bool)
            infos[key][index] = value
            infos["_" + key][index] = True
    return infos


def present(infos: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """The `log/` keys as float32 [N], NaN for environments that did not give a key."""
    return {
        key: np.where(infos["_" + key], values, np.nan).astype(np.float32)
        for key, values in infos.items()
        if key.startswith(LOG_PREFIX)
    }
