"""Any EnvPool environment by its id; many step together in one pool.

Weng et al., "EnvPool: A Highly Parallel Reinforcement Learning Environment Execution Engine"
(arXiv 2206.10558).
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import envpool as pools
import gymnasium
import numpy as np
from gymnasium import spaces as gs

from reverie.envs.errors import MissingPackageError, OptionError, SpaceError, unknown_task
from reverie.envs.flat.converter import Bounds
from reverie.envs.vector.batched import BatchedVectorEnv, Engine, Results, row, stacked
from reverie.machine import cores

OURS = ("num_envs", "batch_size", "seed", "env_type")
"""Arguments of EnvPool that are not the user's to give."""

_UNBOUNDED = np.finfo(np.float64).tiny
"""Stands for minus infinity in the bounds of some of its environments."""

Arrange = Callable[[Any], Any]


class EnvpoolEngine(Engine):
    """N EnvPool environments, which end and start again as `Engine` says.

    Images of channels x height x width become height x width x channels.

    Args:
        name: The EnvPool id.
        num_envs: N.
        kwargs: Arguments of the environments, as for `envpool.make`.

    Raises:
        UnknownTaskError: There is no such id.
        MissingPackageError: It needs libraries of the system; the message says which.
        SpaceError: The environment is for several players.
        OptionError: It has no such argument.
    """

    def __init__(self, name: str, num_envs: int, kwargs: Mapping[str, Any] | None = None):
        self.name, self.num_envs = f"envpool_{name}", num_envs
        self._id, self._kwargs = name, dict(kwargs or {})
        observation_space, self.action_space = _spaces(name, self._kwargs)
        self.observation_space, self._arrange = _arranged(observation_space)
        self._kwargs.setdefault("num_threads", min(num_envs, cores()))
        self._pool: Any = None

    def reset(self, seeds: Sequence[int] | None) -> tuple[Any, dict[str, np.ndarray]]:
        """Starts an episode everywhere; new seeds take a new pool, which is how EnvPool seeds."""
        with warnings.catch_warnings():
            # Its spaces of float32 have bounds of float64, of which gymnasium warns.
            warnings.simplefilter("ignore")
            if seeds is not None or self._pool is None:
                self.close()
                given = {} if seeds is None else {"seed": list(seeds)}
                self._pool = pools.make(
                    self._id, env_type="gymnasium", num_envs=self.num_envs, **given, **self._kwargs
                )
            obs, _ = self._pool.reset()
        return self._arrange(obs), {}

    def send(self, actions: Any) -> None:
        """Begins a step."""
        self._pool.send(actions)

    def recv(self) -> Results:
        """Ends the step."""
        obs, rewards, terminated, truncated, _ = self._pool.recv()
        return self._arrange(obs), rewards, terminated, truncated, {}

    def render(self) -> np.ndarray:
        """A picture of the first environment, where `kwargs` hold `render_mode="rgb_array"`."""
        return self._pool.render()[0]

    def close(self) -> None:
        """Ends the threads."""
        if self._pool is not None:
            self._pool.close()
            self._pool = None


class Envpool(gymnasium.Env):
    """One EnvPool environment; arguments and errors are those of `EnvpoolEngine`."""

    metadata = {"render_modes": ["rgb_array"]}  # noqa: RUF012 (gymnasium's own interface)

    def __init__(self, name: str, kwargs: Mapping[str, Any] | None = None):
        self._engine = EnvpoolEngine(name, 1, kwargs)
        self.task_name = self._engine.name
        self.observation_space = self._engine.observation_space
        self.action_space = self._engine.action_space
        self.render_mode = (kwargs or {}).get("render_mode")
        self._started = False

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Starts an episode."""
        super().reset(seed=seed)
        fresh = seed is not None or not self._started
        obs, _ = self._engine.reset([int(self.np_random.integers(2**31 - 1))] if fresh else None)
        self._started = True
        return row(obs, 0), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """One step."""
        if not self._started:
            raise gymnasium.error.ResetNeeded("Call reset() before step().")
        self._engine.send(stacked(self.action_space, [action]))
        obs, rewards, terminated, truncated, _ = self._engine.recv()
        return row(obs, 0), float(rewards[0]), bool(terminated[0]), bool(truncated[0]), {}

    def render(self) -> np.ndarray:
        """A picture, with the render mode `rgb_array`."""
        return self._engine.render()

    def close(self) -> None:
        """Ends the environment's thread."""
        self._engine.close()


make = Envpool


def make_vec(
    name: str,
    num_envs: int,
    seeds: Sequence[int],
    kwargs: Mapping[str, Any] | None = None,
    size: Sequence[int] = (),
    bounds: Bounds = "warn",
) -> BatchedVectorEnv:
    """The environments as one pool, with images resized and values checked as `wrap` does it."""
    return BatchedVectorEnv(EnvpoolEngine(name, num_envs, kwargs), seeds, bounds, size)


def tasks() -> list[str]:
    """All ids."""
    return sorted(pools.list_all_envs())


def _spaces(name: str, kwargs: Mapping[str, Any]) -> tuple[gymnasium.Space, gymnasium.Space]:
    """Observation and action space as EnvPool declares them, before anything is built."""
    known = pools.list_all_envs()
    if name not in known:
        raise unknown_task("envpool", name, known)
    for key in OURS:
        if key in kwargs:
            raise OptionError(
                f"env.envpool.kwargs holds {key!r}, which Reverie sets: leave it out."
            )
    given = {key: value for key, value in kwargs.items() if not key.startswith("render_")}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            spec = pools.make_spec(name, **given)
            spaces = spec.gymnasium_observation_space, spec.gymnasium_action_space
    except ImportError as error:
        raise MissingPackageError(f"The task envpool_{name} cannot run here: {error}") from error
    except TypeError as error:
        raise OptionError(f"env.envpool.kwargs does not fit envpool_{name}: {error}.") from error
    if spec.config.max_num_players > 1:
        raise SpaceError(
            f"envpool_{name} is for {spec.config.max_num_players} players; the agent plays alone. "
            "Choose an environment for one."
        )
    return spaces


def _arranged(space: gymnasium.Space) -> tuple[gymnasium.Space, Arrange]:
    """The space with images last in channels and true bounds, and what does so to a batch."""
    if isinstance(space, gs.Dict):
        parts = {key: _arranged(child) for key, child in space.items()}
        arranged = gs.Dict({key: child for key, (child, _) in parts.items()})
        return arranged, lambda batch: {key: to(batch[key]) for key, (_, to) in parts.items()}
    if isinstance(space, gs.Box) and _channels_first(space):
        channels, height, width = space.shape
        image = gs.Box(0, 255, (height, width, channels), np.uint8)
        return image, lambda batch: np.moveaxis(batch, 1, -1)
    if isinstance(space, gs.Box) and space.dtype == np.float64:
        low = np.where(space.low == _UNBOUNDED, -np.inf, space.low)
        return gs.Box(low, space.high, space.shape, np.float64), lambda batch: batch
    return space, lambda batch: batch


def _channels_first(space: gs.Box) -> bool:
    shape = space.shape
    image = space.dtype == np.uint8 and len(shape) == 3
    return image and shape[2] not in (1, 3, 4) and shape[0] < min(shape[1:])
