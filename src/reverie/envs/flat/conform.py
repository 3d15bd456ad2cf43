"""The wrapper that makes any environment speak flat, unified and checked arrays."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np

from reverie.envs.errors import SpaceError
from reverie.envs.flat.converter import Bounds, Converter
from reverie.envs.flat.leaves import LARGEST, describe
from reverie.spaces import Space

WARNINGS = "reverie/warnings"
"""Key of an info: what is to be told once, by observation key. No environment has it."""

SpacePair = tuple[gymnasium.Space, gymnasium.Space]

log = logging.getLogger("reverie.envs")


class Conform(gymnasium.Wrapper):
    """Flat keys, unified dtypes and checked values in both directions.

    Every error names the environment, the step of the episode, the key and the value.

    Attributes:
        converter: Translates observations and actions, and knows what people should know.
        steps: Steps of the episode, with one that is under way.
    """

    def __init__(self, env: gymnasium.Env, bounds: Bounds = "error", size: Sequence[int] = ()):
        super().__init__(env)
        self._name, self.steps = name_of(env), 0
        spaces = env.observation_space, env.action_space
        self.converter = Converter(*spaces, size, self._name, bounds, self._place)
        self.observation_space = self.converter.observation_space
        self.action_space = self.converter.action_space

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Starts an episode; returns the flat observation and the info of the environment."""
        self.steps = 0
        try:
            result = self.env.reset(seed=seed, options=options)
        except TypeError as error:
            if "reset() got an unexpected keyword argument" not in str(error):
                raise
            raise self.converter.error(
                f"{error}. Define it as reset(self, *, seed=None, options=None), and begin with "
                "super().reset(seed=seed)."
            ) from error
        if not isinstance(result, tuple) or len(result) != 2:
            raise self.converter.error(
                f"reset() returned a {type(result).__name__}, not (observation, info). Return both."
            )
        return self.converter.encode(result[0]), self._info(result[1], "reset")

    def step(
        self, action: Mapping[str, Any]
    ) -> tuple[dict[str, np.ndarray], float, bool, bool, dict[str, Any]]:
        """One step with an action from the flat action space."""
        self.steps += 1
        result = self.env.step(self.converter.action(action))
        if not isinstance(result, tuple) or len(result) != 5:
            count = len(result) if isinstance(result, tuple) else 0
            got = f"{count} values" if count else f"a {type(result).__name__}"
            mend = "Split an old-style `done` into terminated and truncated."
            raise self.converter.error(
                f"step() returned {got}, not (observation, reward, terminated, truncated, info). "
                + (mend if count == 4 else "Return all five.")
            )
        obs, reward, terminated, truncated, info = result
        for name, flag in (("terminated", terminated), ("truncated", truncated)):
            if not isinstance(flag, bool | np.bool_):
                said = f"{self._name}: step() returned {name}={flag!r}, a {type(flag).__name__}."
                self.converter.warnings[name] = f"{said} Return True or False."
        flat = self.converter.encode(obs, last=bool(terminated or truncated))
        info = self._info(info, "step")
        return flat, self._reward(reward), bool(terminated), bool(truncated), info

    def close(self) -> None:
        """Closes the environment; one that fails at it has done its work, and that is told."""
        try:
            self.env.close()
        except Exception as error:
            log.warning("%s: close() raised %s: %s", self._name, type(error).__name__, error)

    def _place(self) -> str:
        return f"{self._name}, step {self.steps} of the episode"

    def _info(self, info: Any, source: str) -> dict[str, Any]:
        if not isinstance(info, dict):
            raise self.converter.error(f"{source}() returned {info!r} as its info: return a dict.")
        if self.converter.warnings:
            info = {**info, WARNINGS: self.converter.warnings}
            self.converter.warnings = {}
        return info

    def _reward(self, reward: Any) -> float:
        if isinstance(reward, np.ndarray) and reward.ndim:
            shape = reward.shape
            raise self.converter.error(f"the reward has shape {shape}. Return a single number.")
        try:
            value = float(reward)
        except (TypeError, ValueError) as error:
            raise self.converter.error(f"the reward is {reward!r}. Return a number.") from error
        if not abs(value) <= LARGEST:
            raise self.converter.error(f"the reward is {value}. Return a finite number.")
        return value


def native(env: gymnasium.Env) -> gymnasium.Env:
    """The environment inside the wrappers that `reverie.envs.wrappers.wrap` added, if it did."""
    found = wrapper_of(env, Conform)
    return found.env if found else env


def is_wrapped(env: gymnasium.Env) -> bool:
    """Whether `wrap` was applied to this environment."""
    return wrapper_of(env, Conform) is not None


def wrapper_of(env: gymnasium.Env, kind: type[gymnasium.Wrapper]) -> gymnasium.Wrapper | None:
    """The outermost wrapper of a kind; None if there is none."""
    while isinstance(env, gymnasium.Wrapper):
        if isinstance(env, kind):
            return env
        env = env.env
    return None


def spaces(env: gymnasium.Env) -> tuple[dict[str, Space], dict[str, Space]]:
    """Observation and action spaces of a wrapped environment, by key.

    Keys starting with `log/` are left out: they are for the logger and never reach the agent.
    """
    if not is_wrapped(env):
        raise TypeError(f"{env} is not wrapped. Call reverie.envs.wrappers.wrap(env) first.")
    return describe(env.observation_space), describe(env.action_space)


def require_same(index: int, found: SpacePair, first: SpacePair) -> None:
    """Raises SpaceError when environment `index` has other spaces than the first one."""
    if found != first:
        raise SpaceError(
            f"Environment {index} has the spaces {found}, environment 0 has {first}. All "
            "environments of one run must have the same observation and action spaces."
        )


def name_of(env: gymnasium.Env) -> str:
    """What to call an environment in messages: its id, its `task_name`, or its class."""
    if env.spec:
        return env.spec.id
    return getattr(env.unwrapped, "task_name", type(env.unwrapped).__name__)
