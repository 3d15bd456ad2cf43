"""Environments that one engine steps together, behind the interface of a vector environment."""

import abc
import logging
from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space, concatenate, create_empty_array

from reverie.envs.flat.converter import Bounds, Converter
from reverie.envs.flat.leaves import LARGEST, describe_all

log = logging.getLogger("reverie.envs")

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
        bounds, size: As for `wrappers.wrap`.

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
        self._engine, self._seeds = engine, [int(seed) for seed in seeds]
        self.num_envs = engine.num_envs
        spaces = engine.observation_space, engine.action_space
        self._converter = Converter(*spaces, size, engine.name, bounds, self._place)
        self.single_observation_space = self._converter.observation_space
        self.single_action_space = self._converter.action_space
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self._layout = describe_all(self.single_observation_space)
        self._index = 0
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
        return self._convert(obs), _fresh(logs)

    def step_async(self, actions: Mapping[str, np.ndarray]) -> None:
        """Begins a step with actions [N, ...] from the flat action space."""
        if not self._started:
            raise gymnasium.error.ResetNeeded("Call reset() before step().")
        chosen = []
        for index in range(self.num_envs):
            self._index = index
            chosen.append(self._converter.action({k: x[index] for k, x in actions.items()}))
        self._engine.send(stacked(self._engine.action_space, chosen))

    def step_wait(
        self,
    ) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Ends the step that `step_async` began."""
        obs, rewards, terminated, truncated, logs = self._engine.recv()
        self._steps += 1
        self._steps[self._over] = 0
        rewards = np.where(self._over, 0.0, rewards)
        if not np.abs(rewards).max() <= LARGEST:
            self._index = int(np.argmax(~(np.abs(rewards) <= LARGEST)))
            reward = rewards[self._index]
            raise self._converter.error(f"the reward is {reward}. Return a finite number.")
        self._over = terminated | truncated
        # The engine may use its arrays again, as it may those of the observations.
        flags = np.array(terminated), np.array(truncated)
        return self._convert(obs), rewards, *flags, _fresh(logs)

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
        arrays = {key: space.zeros(self.num_envs) for key, space in self._layout.items()}
        for index, over in enumerate(self._over):
            self._index = index
            flat = self._converter.encode(row(obs, index), last=bool(over))
            for key, array in arrays.items():
                array[index] = flat[key]
        for key in list(self._converter.warnings):
            log.warning("%s", self._converter.warnings.pop(key))
        return arrays

    def _place(self) -> str:
        step = self._steps[self._index]
        return f"{self._engine.name}, environment {self._index}, step {step} of the episode"


def row(batch: Any, index: int) -> Any:
    """What a batch of values of a nested space holds for one environment."""
    if isinstance(batch, Mapping):
        return {key: row(value, index) for key, value in batch.items()}
    if isinstance(batch, tuple):
        return tuple(row(value, index) for value in batch)
    return batch[index]


def stacked(space: gymnasium.Space, values: Sequence[Any]) -> Any:
    """A batch of values of a nested space."""
    return concatenate(space, values, create_empty_array(space, len(values)))


def _fresh(logs: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Arrays that the engine does not use again."""
    return {key: np.array(values, np.float32) for key, values in logs.items()}
