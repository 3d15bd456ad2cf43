"""Metrics that environments put into `info` under keys starting with `log/`."""

import contextlib
import logging
from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np

from reverie.envs.errors import ValueMismatchError
from reverie.envs.flat.conform import WARNINGS, name_of
from reverie.spaces import LOG_PREFIX, SUM

RAW_RETURN = LOG_PREFIX + "raw_return"

log = logging.getLogger("reverie.envs")


def only_logs(env: gymnasium.Env, info: Mapping[str, Any]) -> dict[str, Any]:
    """The `log/` keys of an info as plain floats, so that little crosses processes.

    The raw return that `gymnasium.wrappers.RecordEpisodeStatistics` puts there is one of them, for
    rewards may have been changed since.

    Raises:
        ValueMismatchError: A value is no number.
    """
    found = {k: x for k, x in info.items() if isinstance(k, str) and k.startswith(LOG_PREFIX)}
    episode = info.get("episode")
    if isinstance(episode, Mapping) and "r" in episode:
        found[RAW_RETURN] = episode["r"]
    logs: dict[str, Any] = {key: _number(env, key, value) for key, value in found.items()}
    return {WARNINGS: info[WARNINGS], **logs} if WARNINGS in info else logs


def _number(env: gymnasium.Env, key: str, value: Any) -> float:
    if np.ndim(value) == 0:
        with contextlib.suppress(TypeError, ValueError):
            return float(value)
    raise ValueMismatchError(
        f"{name_of(env)}: info[{key!r}] is {value!r}. Return a number; declare arrays and images "
        "in the observation space under a name starting with 'log/'."
    )


def merged(infos: Sequence[Any]) -> Any:
    """The last info of repeated steps, with the largest and the sum of its `log/` values."""
    if not all(isinstance(info, Mapping) for info in infos):
        return infos[-1]
    whole = {key: value for info in infos for key, value in info.items()}
    for key in [key for key in whole if isinstance(key, str) and key.startswith(LOG_PREFIX)]:
        values = [info[key] for info in infos if key in info]
        if all(np.ndim(x) == 0 and np.asarray(x).dtype.kind in "fiub" for x in values):
            whole |= {key: max(values), key + SUM: sum(values)}
    return whole


def tell(logs: Sequence[dict[str, Any]], told: set[str]) -> None:
    """Takes the warnings out of infos, and logs those of keys that are not among `told` yet."""
    for entries in logs:
        for key, text in entries.pop(WARNINGS, {}).items():
            if key not in told:
                told.add(key)
                log.warning("%s", text)


def stack(logs: Sequence[Mapping[str, float]]) -> dict[str, np.ndarray]:
    """Logs of N environments by key as float32 [N], NaN where an environment gave none."""
    infos: dict[str, np.ndarray] = {}
    for index, entries in enumerate(logs):
        for key, value in entries.items():
            infos.setdefault(key, np.full(len(logs), np.nan, np.float32))[index] = value
    return infos
