"""Environments that one engine steps together, behind the interface of a vector environment."""

import abc
import logging
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import gymnasium
import numpy as np
from gymnasium import spaces as gs
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space

from reverie.envs.errors import ValueMismatchError
from reverie.envs.flat.codec import Codec
from reverie.envs.flat.conform import Bounds
from reverie.envs.flat.leaves import describe_all
from reverie.envs.flat.limits import LARGEST, Check, action_check, observation_check
from reverie.envs.probe import StandIn
from reverie.envs.wrappers import ResizeImages, resize, wrap

log = logging.getLogger("reverie.envs")

W = TypeVar("W", bound=gymnasium.Wrapper)

Results = tuple[Any, np.ndarray, np.ndarray, np.ndarray, dict[str, np.ndarray]]


class Engine(abc.ABC):
    """N environments of one suite that step at once; what a suite writes that has them batched.

    Values are as the suite has them, batched: arrays [N, ...], in dictionaries or tuples where the
    spaces are nested. Infos hold `log/` keys only, as arrays [N], NaN where there is no value. The
    step after the end of an episode ignores its action and returns the start of the next one.

    Attributes:
        name: The task, for messages.
        num_envs: N.
        observation_space: The space of one environment; images are [height, width, channels].
        action_space: The action space of one environment.
    """

    name: str
    num_envs: int
    observation_space: gymnasium.Space
    action_space: gymnasium.Space

    @abc.abstractmethod
    def reset(self, seeds: Sequence[int] | None) -> tuple[Any, dict[str, np.ndarray]]:
        """Starts an episode everywhere; returns observations and infos.

        Args:
            seeds: One for each environment; None goes on with the random numbers as they are.
        """

    @abc.abstractmethod
    def send(self, actions: Any) -> None:
        """Begins a step; returns before it is done where the engine has threads of its own."""

    @abc.abstractmethod
    def recv(self) -> Results:
        """Ends a step; returns observations, rewards, terminated, truncated and infos."""

    @abc.abstractmethod
    def close(self) -> None:
        """Frees the engine; a second call does nothing."""


class BatchedVectorEnv(gymnasium.vector.VectorEnv):
    """An engine with the spaces, the conversions and the checks of `wrappers.wrap`.

    Args:
        engine: What steps the environments.
        seeds: Seeds of the first reset, unless that brings its own.
        bounds: `error` raises when a continuous observation leaves its declared Box, `warn` says
            so once for each key, `ignore` lets it through (NaN and infinity are errors in all).
        size: Resize every image observation to (height, width); empty keeps their sizes.

    Raises:
        SpaceError: The environments have a space that the agent cannot use.
    """

    metadata = {"autoreset_mode": AutoresetMode.NEXT_STEP}  # noqa: RUF012 (gymnasium's interface)

    def __init__(
        self,
        engine: Engine,
        seeds: Sequence[int],
        bounds: Bounds = "error",
        size: Sequence[int] = (),
    ):
        self._bounds = bounds
        self._engine, self._seeds = engine, [int(seed) for seed in seeds]
        self.num_envs = engine.num_envs
        self._single = wrap(_stand_in(engine), bounds=bounds, size=size)
        self.single_observation_space = self._single.observation_space
        self.single_action_space = self._single.action_space
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        spaces = describe_all(self.single_observation_space)
        self._dtypes = {key: space.dtype for key, space in spaces.items()}
        self._obs = Codec(engine.observation_space, "observation", self.num_envs)
        self._resizes = _wrappers(self._single, ResizeImages)
        self._act = Codec(engine.action_space, "action", self.num_envs)
        self._checks = [
            [leaf.key, observation_check(leaf.flat, bounds != "ignore")]
            for leaf in self._obs.leaves
            if isinstance(leaf.flat, gs.Box) and leaf.flat.dtype == np.float32
        ]
        self._actions = [(leaf.key, action_check(leaf.flat)) for leaf in self._act.leaves]
        self._steps = np.zeros(self.num_envs, np.int64)
        self._over = np.zeros(self.num_envs, bool)
        self._started = False

    def reset(
        self,
        *,
        seed: int | Sequence[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Starts an episode everywhere; returns flat observations and infos.

        Args:
            seed: One for each environment; an integer is that of the first, and the others count
                on from it.
        """
        if isinstance(seed, int):
            seed = [seed + index for index in range(self.num_envs)]
        if seed is None and not self._started:
            seed = self._seeds
        obs, logs = self._engine.reset(None if seed is None else [int(each or 0) for each in seed])
        self._started = True
        self._steps[:], self._over[:] = 0, False
        return self._convert(obs), _infos(logs)

    def step_async(self, actions: Mapping[str, np.ndarray]) -> None:
        """Begins a step with actions [N, ...] from the flat action space."""
        if not self._started:
            raise gymnasium.error.ResetNeeded("Call reset() before step().")
        flat = dict(actions)
        for wrapper in _wrappers(self._single, gymnasium.ActionWrapper):
            flat = wrapper.action(flat)
        for key, check in self._actions:
            if problem := check(flat.get(key)):
                raise ValueMismatchError(f"{self._engine.name}: the action {key!r} {problem}")
        self._engine.send(self._act.decode(flat))

    def step_wait(
        self,
    ) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Ends the step that `step_async` began."""
        obs, rewards, terminated, truncated, logs = self._engine.recv()
        self._steps += 1
        self._steps[self._over] = 0
        rewards = np.where(self._over, 0.0, rewards)
        if not np.abs(rewards).max() <= LARGEST:
            index = int(np.argmax(~(np.abs(rewards) <= LARGEST)))
            raise self._error(index, f"the reward is {rewards[index]}. Return a finite number.")
        self._over = terminated | truncated
        # The engine may use its arrays again, as it may those of the observations.
        flags = np.array(terminated), np.array(truncated)
        return self._convert(obs), rewards, *flags, _infos(logs)

    def step(
        self, actions: Mapping[str, np.ndarray]
    ) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """`step_async` and `step_wait` in one call."""
        self.step_async(actions)
        return self.step_wait()

    def close_extras(self, **kwargs: Any) -> None:
        """Frees the engine."""
        self._engine.close()

    def _convert(self, obs: Any) -> dict[str, np.ndarray]:
        try:
            flat = self._obs.encode(obs)
        except ValueMismatchError as error:
            raise ValueMismatchError(f"{self._engine.name}: observation {error}") from error
        for entry in self._checks:
            key, check = entry
            if check(flat[key]):
                error = self._wrong_value(key, flat[key], check)
                finite = observation_check(gs.Box(-np.inf, np.inf, flat[key].shape), False)
                if self._bounds != "warn" or finite(flat[key]):
                    raise error
                entry[1] = finite
                log.warning("%s This one and later ones are let through.", error)
        for wrapper in self._resizes:
            for key in wrapper.keys:
                flat[key] = np.stack([resize(image, wrapper.size) for image in flat[key]])
        return {key: np.array(flat[key], dtype) for key, dtype in self._dtypes.items()}

    def _wrong_value(self, key: str, values: np.ndarray, check: Check) -> ValueMismatchError:
        """Finds the environment: all others are shown to the check as missing."""
        for index in range(self.num_envs):
            alone = np.full_like(values, -np.inf)
            alone[index] = values[index]
            if problem := check(alone):
                return self._error(index, f"observation {key!r} {problem}")
        raise AssertionError("the check found nothing in any single environment")

    def _error(self, index: int, message: str) -> ValueMismatchError:
        return ValueMismatchError(
            f"{self._engine.name}, environment {index}, step {self._steps[index]} of the episode: "
            f"{message}"
        )


def _stand_in(engine: Engine) -> StandIn:
    """Stands for one environment of an engine, to find out what its wrappers make of it."""
    return StandIn(engine.name, engine.observation_space, engine.action_space)


def _wrappers(env: gymnasium.Env, kind: type[W]) -> list[W]:
    """Those of a kind, from the outside in. Actions are changed alike, be it one or a batch."""
    found = []
    while isinstance(env, gymnasium.Wrapper):
        if isinstance(env, kind):
            found.append(env)
        env = env.env
    return found


def _infos(logs: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Infos in gymnasium's form: beside every key, where it has a value."""
    infos: dict[str, Any] = {}
    for key, values in logs.items():
        infos[key], infos["_" + key] = values, ~np.isnan(values)
    return infos
