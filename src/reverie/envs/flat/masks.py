"""Action masks: which classes of a discrete action are valid at a step.

A mask is an observation like any other; `reverie.spaces.mask_keys` says which action it belongs to.
"""

from collections.abc import Mapping
from typing import Any, Literal

import gymnasium
import numpy as np
from gymnasium import spaces as gs

from reverie.envs.errors import SpaceError, ValueMismatchError
from reverie.envs.flat.codec import Codec
from reverie.envs.flat.conform import name_of
from reverie.envs.flat.leaves import describe, leaves
from reverie.spaces import ACTION_MASK, Space

InfoMasks = Literal["auto", "use", "ignore"]

_IGNORE = "Set env.gym.info_mask to ignore if it is no mask."


class MaskFromInfo(gymnasium.Wrapper):
    """Moves `info["action_mask"]` of an environment into its observation.

    The info holds one array for the only discrete action, or a mapping from the names of discrete
    actions to arrays; actions that it leaves out are all valid. An array has one 0 or 1 per class.
    A tuple of arrays, one for each entry of a MultiDiscrete, is put end to end.

    Args:
        env: An environment that gives a mask with every observation, except a last one.

    Raises:
        SpaceError: It has no discrete action.
    """

    def __init__(self, env: gymnasium.Env):
        super().__init__(env)
        self._name = name_of(env)
        actions = _discrete(Codec(env.action_space, "action").space)
        self._sizes = {key: space.width for key, space in actions.items()}
        if not self._sizes:
            raise SpaceError(
                f"{self._name}: a mask is for discrete actions, but the action space is "
                f"{env.action_space}. {_IGNORE}"
            )
        self._single = len(self._sizes) == 1
        masks: dict[str, gymnasium.Space] = {
            key: gs.MultiBinary(size) for key, size in self._sizes.items()
        }
        mask = next(iter(masks.values())) if self._single else gs.Dict(masks)
        inner = env.observation_space
        if isinstance(inner, gs.Dict):
            self._key, parts = "", dict(inner.spaces)
        else:
            # The name that it would have without a mask: obs or image.
            self._key = next(leaves(inner, "observation")).key.partition("/")[0]
            parts = {self._key: inner}
        self.observation_space = gs.Dict({**parts, ACTION_MASK: mask})
        self._step = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Starts an episode."""
        self._step = 0
        obs, info = self.env.reset(seed=seed, options=options)
        return self._merge(obs, info, over=False), info

    def step(self, action: Any) -> tuple[dict[str, Any], Any, bool, bool, dict[str, Any]]:
        """One step."""
        self._step += 1
        obs, reward, terminated, truncated, info = self.env.step(action)
        over = bool(terminated or truncated)
        return self._merge(obs, info, over), reward, terminated, truncated, info

    def _merge(self, obs: Any, info: Mapping[str, Any], over: bool) -> dict[str, Any]:
        given = info.get(ACTION_MASK)
        if given is None:
            if not over:
                raise self._error(f"the info has no {ACTION_MASK!r}")
            given = {}
        elif self._single and not isinstance(given, Mapping):
            given = dict.fromkeys(self._sizes, given)
        if not isinstance(given, Mapping) or not set(given) <= set(self._sizes):
            names = list(self._sizes)
            raise self._error(f"info[{ACTION_MASK!r}] is {given!r}, not a mapping from {names}")
        masks = {key: self._array(key, given.get(key)) for key in self._sizes}
        mask = next(iter(masks.values())) if self._single else masks
        return {**({self._key: obs} if self._key else obs), ACTION_MASK: mask}

    def _array(self, key: str, value: Any) -> np.ndarray:
        size = self._sizes[key]
        if value is None:
            return np.ones(size, bool)
        parts = value if isinstance(value, tuple) else (value,)
        array = np.concatenate([np.ravel(part) for part in parts])
        if array.shape != (size,):
            raise self._error(
                f"info[{ACTION_MASK!r}] of the action {key!r} has {array.size} entries, not one "
                f"for each of its {size} classes"
            )
        return array

    def _error(self, message: str) -> ValueMismatchError:
        return ValueMismatchError(
            f"{self._name}, step {self._step} of the episode: {message}. {_IGNORE}"
        )


def gives_masks(env: gymnasium.Env) -> bool:
    """Whether the info of a reset of a wrapped environment with discrete actions holds a mask."""
    if not _discrete(env.action_space):
        return False
    return ACTION_MASK in env.reset()[1]


def valid_actions(
    act_space: Mapping[str, Space],
    masks: Mapping[str, str],
    obs: Mapping[str, np.ndarray],
    rng: np.random.Generator,
    *lead: int,
) -> dict[str, np.ndarray]:
    """Uniform random choices among the valid classes, for the action keys that have a mask.

    Args:
        act_space: Action keys.
        masks: From action keys to observation keys, as `mask_keys` finds them.
        obs: Observations.
        rng: Source of the choices.
        *lead: Leading axes of the observations.
    """
    chosen = {}
    for key, name in masks.items():
        space = act_space[key]
        shape = (*lead, space.width)
        noise = np.where(obs[name].reshape(shape), rng.random(shape), -1.0)
        entries = np.split(noise, np.cumsum(space.classes)[:-1], -1)
        picked = np.stack([entry.argmax(-1) for entry in entries], -1)
        chosen[key] = picked.reshape((*lead, *space.shape)).astype(space.dtype)
    return chosen


def _discrete(space: gymnasium.Space) -> dict[str, Space]:
    """The discrete keys of a flat action space."""
    return {key: entry for key, entry in describe(space).items() if entry.kind == "discrete"}
