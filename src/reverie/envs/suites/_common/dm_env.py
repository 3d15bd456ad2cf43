"""Any dm_env environment as a gymnasium environment."""

from collections.abc import Callable, Mapping
from typing import Any

import dm_env
import gymnasium
import numpy as np
from dm_env import specs
from gymnasium import spaces as gs

from reverie.envs.errors import SpaceError

Convert = Callable[[Any], Any]


class DmEnv(gymnasium.Env):
    """Adapts the interface of dm_env (Muldal, Doron and Aslanides, 2019).

    Spaces follow the specs: floating-point arrays become float32 `Box`es, integer scalars with
    bounds `Discrete`, dictionaries and lists `Dict` and `Tuple` without the entries of zero size.
    An episode ends by termination when the discount of its last step is 0, and by truncation
    otherwise.

    dm_env has no way to seed an environment that exists, so `seed` says how.

    Args:
        env, name: The environment, and its name in messages.
        seed: Called with a number when a reset brings a seed; returns the environment to go on
            with, which may be a new one. None ignores seeds.

    Raises:
        SpaceError: A spec that no space describes.
    """

    metadata = {"render_modes": []}  # noqa: RUF012 (gymnasium's own interface)

    def __init__(
        self,
        env: dm_env.Environment,
        name: str,
        seed: Callable[[int], dm_env.Environment] | None = None,
    ):
        self.task_name = name
        self._dm = env
        self._reseed = seed
        self._running = False
        self.observation_space, self._observe = _reader(env.observation_spec(), "observation")
        action = env.action_spec()
        self.action_space, _ = _reader(action, "action")
        self._write = _writer(action)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Starts an episode."""
        super().reset(seed=seed)
        if seed is not None and self._reseed is not None:
            self._dm = self._reseed(int(self.np_random.integers(2**31 - 1)))
        self._running = True
        return self._observe(self._dm.reset().observation), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """One step; an action is converted to the dtype that the spec names."""
        if not self._running:
            raise gymnasium.error.ResetNeeded("Call reset() before step(), also after an episode.")
        found = self._dm.step(self._write(action))
        last = found.last()
        # Stepping on would silently start the next episode, as dm_env demands.
        self._running = not last
        terminated = last and found.discount == 0
        observation = self._observe(found.observation)
        return observation, float(found.reward), bool(terminated), last and not terminated, {}

    def close(self) -> None:
        """Closes the environment."""
        self._dm.close()


def _reader(spec: Any, key: str) -> tuple[gymnasium.Space, Convert]:
    """The space of a spec, and a function that makes its values fit.

    Values are copied, because an environment may go on writing to the arrays it returned.
    """
    if isinstance(spec, Mapping):
        parts = {name: _reader(part, f"{key}/{name}") for name, part in _filled(spec)}
        return (
            gs.Dict({name: space for name, (space, _) in parts.items()}),
            lambda value: {name: read(value[name]) for name, (_, read) in parts.items()},
        )
    if isinstance(spec, list | tuple):
        entries = [(index, _reader(part, f"{key}/{index}")) for index, part in _filled(spec)]
        return (
            gs.Tuple([space for _, (space, _) in entries]),
            lambda value: tuple(read(value[index]) for index, (_, read) in entries),
        )
    space = _space(spec, key)
    if isinstance(space, gs.Discrete):
        return space, lambda value: np.int64(np.asarray(value).item())
    dtype = space.dtype
    return space, lambda value: np.array(value, dtype)


def _writer(spec: Any) -> Convert:
    """The function that turns an action from the space of a spec into one for the environment."""
    if isinstance(spec, Mapping):
        filled = {name: _writer(part) for name, part in _filled(spec)}
        empty = {name: _empty(part) for name, part in spec.items() if name not in filled}
        return lambda value: empty | {name: write(value[name]) for name, write in filled.items()}
    if isinstance(spec, list | tuple):
        entries = [(index, _writer(part)) for index, part in _filled(spec)]
        blank = [_empty(part) if isinstance(part, specs.Array) else None for part in spec]

        def write_entries(value: Any) -> Any:
            whole = list(blank)
            for (index, write), entry in zip(entries, value, strict=True):
                whole[index] = write(entry)
            return type(spec)(whole)

        return write_entries
    if not spec.shape:
        return spec.dtype.type
    if isinstance(spec, specs.BoundedArray) and spec.dtype.kind == "f":
        # A bound rounded to float32 can lie outside the float64 one.
        return lambda value: np.clip(np.asarray(value, spec.dtype), spec.minimum, spec.maximum)
    return lambda value: np.asarray(value, spec.dtype)


def _filled(spec: Any) -> list[tuple[Any, Any]]:
    """Entries of a structure that are not of zero size."""
    entries = spec.items() if isinstance(spec, Mapping) else enumerate(spec)
    return [
        (name, part) for name, part in entries if not isinstance(part, specs.Array) or _size(part)
    ]


def _size(spec: specs.Array) -> int:
    return int(np.prod(spec.shape))


def _empty(spec: specs.Array) -> np.ndarray:
    return np.zeros(spec.shape, spec.dtype)


def _space(spec: Any, key: str) -> gymnasium.Space:
    """The space of one array."""
    kind = spec.dtype.kind if isinstance(spec, specs.Array) else ""
    if isinstance(spec, specs.StringArray) or kind not in tuple("fiub"):
        raise SpaceError(
            f"{key!r} has the spec {spec}, which is neither an array of numbers nor of booleans. "
            "Wrap the environment in one that leaves it out or turns it into numbers."
        )
    bounded = isinstance(spec, specs.BoundedArray)
    if kind == "b":
        return gs.MultiBinary(spec.shape) if spec.shape else gs.Discrete(2)
    if kind == "f":
        low = np.broadcast_to(spec.minimum if bounded else -np.inf, spec.shape)
        high = np.broadcast_to(spec.maximum if bounded else np.inf, spec.shape)
        return gs.Box(low.astype(np.float32), high.astype(np.float32), dtype=np.float32)
    limits = np.iinfo(spec.dtype)
    low = np.broadcast_to(spec.minimum if bounded else limits.min, spec.shape)
    high = np.broadcast_to(spec.maximum if bounded else limits.max, spec.shape)
    if not spec.shape and bounded:
        return gs.Discrete(int(high) - int(low) + 1, start=int(low))
    return gs.Box(low.astype(spec.dtype), high.astype(spec.dtype), dtype=spec.dtype)
