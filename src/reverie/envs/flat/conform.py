"""The wrapper that makes any environment speak flat, unified and checked arrays."""

import logging
from collections.abc import Mapping
from typing import Any, Literal

import gymnasium
import numpy as np
from gymnasium import spaces as gs

from reverie.envs.errors import OutOfBoundsError, SpaceError, ValueMismatchError
from reverie.envs.flat.codec import Codec
from reverie.envs.flat.leaves import describe
from reverie.envs.flat.limits import LARGEST, action_check, mask_check, observation_check
from reverie.spaces import Space, mask_keys

Bounds = Literal["error", "warn", "ignore"]
WARNINGS = "warnings"
"""Key of an info: what is to be told once, by observation key."""

SpacePair = tuple[gymnasium.Space, gymnasium.Space]

log = logging.getLogger("reverie.envs")


class Conform(gymnasium.Wrapper):
    """Flat keys, unified dtypes and checked values in both directions.

    Every error names the environment, the step of the episode, the key and the value.

    Attributes:
        text: Keys of observed texts, which are left out.
        notes: What people should know about the observations.
    """

    def __init__(self, env: gymnasium.Env, bounds: Bounds = "error"):
        super().__init__(env)
        if bounds not in ("error", "warn", "ignore"):
            raise ValueError(f"bounds={bounds!r}: choose 'error', 'warn' or 'ignore'.")
        self._name = name_of(env)
        try:
            self._obs = Codec(env.observation_space, "observation")
            self._act = Codec(env.action_space, "action")
            _check_clash(self._obs, self._act)
            act_space = describe(self._act.space)
            masks = mask_keys(describe(self._obs.space), act_space)
        except ValueError as error:
            raise SpaceError(f"{self._name}: {error}") from error
        self.observation_space = self._obs.space
        self.action_space = self._act.space
        self.text = self._obs.text
        self.notes = tuple(leaf.note for leaf in self._obs.leaves if leaf.note)
        self._bounds = bounds
        self._checks = {
            leaf.key: observation_check(leaf.flat, bounds != "ignore")
            for leaf in self._obs.leaves
            if isinstance(leaf.flat, gs.Box) and leaf.flat.dtype == np.float32
        }
        # What becomes an image is looked at as it is, because that cuts it to 0..255.
        self._raw = {
            leaf.key: leaf
            for leaf in self._obs.leaves
            if leaf.picture is not None and leaf.native.dtype != np.uint8
        }
        for key, leaf in self._raw.items():
            assert isinstance(leaf.native, gs.Box)
            self._checks[key] = observation_check(leaf.native, bounds != "ignore")
        self._warnings: dict[str, str] = {}
        self._masks = [(name, mask_check(act_space[key])) for key, name in masks.items()]
        self._actions = [(key, action_check(space)) for key, space in self._act.space.items()]
        self._step = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Starts an episode; returns the flat observation and the info of the environment."""
        self._step = 0
        result = self.env.reset(seed=seed, options=options)
        if not isinstance(result, tuple) or len(result) != 2:
            raise self._error(
                f"reset() returned a {type(result).__name__}, not (observation, info). Return both."
            )
        flat = self._convert(result[0])
        self._check_masks(flat)
        return flat, self._info(result[1], "reset")

    def step(
        self, action: Mapping[str, Any]
    ) -> tuple[dict[str, np.ndarray], float, bool, bool, dict[str, Any]]:
        """One step with an action from the flat action space."""
        self._step += 1
        for key, check in self._actions:
            if problem := check(action.get(key)):
                raise self._error(f"the action {key!r} {problem}")
        result = self.env.step(self._act.decode(action))
        if not isinstance(result, tuple) or len(result) != 5:
            count = len(result) if isinstance(result, tuple) else "one"
            raise self._error(
                f"step() returned {count} values, not (observation, reward, terminated, "
                "truncated, info). Split an old-style `done` into terminated and truncated."
            )
        obs, reward, terminated, truncated, info = result
        flat = self._convert(obs)
        if not (terminated or truncated):
            self._check_masks(flat)
        info = self._info(info, "step")
        return flat, self._reward(reward), bool(terminated), bool(truncated), info

    def close(self) -> None:
        """Closes the environment; one that fails at it has done its work, and that is told."""
        try:
            self.env.close()
        except Exception as error:
            log.warning("%s: close() raised %s: %s", self._name, type(error).__name__, error)

    @property
    def masked(self) -> bool:
        """Whether some of its observations are action masks."""
        return bool(self._masks)

    def _info(self, info: Any, source: str) -> dict[str, Any]:
        if not isinstance(info, dict):
            raise self._error(f"{source}() returned {info!r} as its info: return a dict.")
        if self._warnings:
            info, self._warnings = {**info, WARNINGS: self._warnings}, {}
        return info

    def _convert(self, obs: Any) -> dict[str, np.ndarray]:
        try:
            flat = self._obs.encode(obs)
        except ValueMismatchError as error:
            raise self._error(f"observation {error}") from error
        for key, check in self._checks.items():
            value = self._raw[key].raw(obs) if key in self._raw else flat[key]
            if problem := check(value):
                self._outside(key, value, f"observation {key!r} {problem}")
        return flat

    def _outside(self, key: str, value: np.ndarray, problem: str) -> None:
        """Warns of the first value outside its bounds, if it is a number and that is enough."""
        error = self._error(problem)
        finite = observation_check(gs.Box(-np.inf, np.inf, value.shape), False)
        if finite(value):
            raise error
        if self._bounds != "warn":
            raise OutOfBoundsError(str(error))
        self._checks = {**self._checks, key: finite}
        self._warnings[key] = f"{error} This one and later ones are let through."

    def _check_masks(self, flat: dict[str, np.ndarray]) -> None:
        for name, check in self._masks:
            if problem := check(flat[name]):
                raise self._error(f"the mask {name!r} {problem}")

    def _reward(self, reward: Any) -> float:
        if isinstance(reward, np.ndarray) and reward.ndim:
            raise self._error(f"the reward has shape {reward.shape}. Return a single number.")
        try:
            value = float(reward)
        except (TypeError, ValueError) as error:
            raise self._error(f"the reward is {reward!r}. Return a number.") from error
        if not abs(value) <= LARGEST:
            raise self._error(f"the reward is {value}. Return a finite number.")
        return value

    def _error(self, message: str) -> ValueMismatchError:
        return ValueMismatchError(f"{self._name}, step {self._step} of the episode: {message}")


def is_wrapped(env: gymnasium.Env) -> bool:
    """Whether `wrap` was applied to this environment."""
    while isinstance(env, gymnasium.Wrapper):
        if isinstance(env, Conform):
            return True
        env = env.env
    return False


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


def _check_clash(obs: Codec, act: Codec) -> None:
    both = {leaf.key for leaf in obs.leaves} & {leaf.key for leaf in act.leaves}
    if both:
        raise SpaceError(
            f"{sorted(both)} name both an observation and an action. Rename the observation, for "
            "example with gymnasium.wrappers.TransformObservation."
        )
