"""Between an environment's own values and the flat, checked arrays of an agent."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import gymnasium
import numpy as np
from gymnasium import spaces as gs

from reverie.envs.errors import OutOfBoundsError, SpaceError, ValueMismatchError
from reverie.envs.flat.codec import Codec
from reverie.envs.flat.leaves import describe, reach, used_range
from reverie.envs.flat.limits import action_check, mask_check, observation_check
from reverie.spaces import mask_keys

Bounds = Literal["error", "warn", "ignore"]


class Converter:
    """Translates observations to flat arrays and flat actions back, and checks both.

    Args:
        observation_space, action_space: As the environment declares them.
        size: Height and width to which images are resized; empty for none.
        name: What messages call the environment.
        bounds: What happens when a continuous observation leaves its declared Box, see `wrap`.
        place: Says in messages where an error is; by default `name`.

    Attributes:
        native_obs, native_act: The spaces as given.
        observation_space: The flat one, a `Dict`.
        action_space: The flat one; continuous actions are in [-1, 1].
        spaces: Observation and action keys, without those that start with `log/`.
        text: Keys of observed texts, which are left out.
        notes: What people should know about the observations.
        unbounded: Actions with entries without bounds, and the ranges of them that are used.
        masked: Whether some observations are action masks.
        warnings: What is to be told once, by observation key; whoever tells it takes it out.

    Raises:
        SpaceError: A space that the agent cannot use, or names that clash.
    """

    def __init__(
        self,
        observation_space: gymnasium.Space,
        action_space: gymnasium.Space,
        size: Sequence[int] = (),
        name: str = "the environment",
        bounds: Bounds = "ignore",
        place: Callable[[], str] | None = None,
    ):
        if bounds not in ("error", "warn", "ignore"):
            raise ValueError(f"bounds={bounds!r}: choose 'error', 'warn' or 'ignore'.")
        if size and (len(size) != 2 or min(size) < 1):
            raise ValueError(f"size={list(size)}: expected [height, width], such as [64, 64].")
        self.native_obs, self.native_act = observation_space, action_space
        self._place = place or (lambda: name)
        try:
            self._obs = Codec(observation_space, "observation", size)
            self._act = Codec(action_space, "action")
            _check_clash(self._obs, self._act)
            self.spaces = describe(self._obs.space), describe(self._act.space)
            masks = mask_keys(*self.spaces)
        except ValueError as error:
            raise SpaceError(f"{name}: {error}") from error
        self.observation_space, self.action_space = self._obs.space, self._act.space
        self.text = self._obs.text
        self.notes = tuple(leaf.note for leaf in self._obs.leaves if leaf.note)
        self.unbounded = _unbounded(self._act)
        self.masked = bool(masks)
        self.warnings: dict[str, str] = {}
        self._bounds = bounds
        # What becomes an image is looked at as it is, because that cuts it to 0..255.
        self._raw = {
            leaf.key: leaf
            for leaf in self._obs.leaves
            if leaf.picture is not None and leaf.native.dtype != np.uint8
        }
        self._checks = {
            leaf.key: observation_check(None if bounds == "ignore" else space)
            for leaf in self._obs.leaves
            for space in [leaf.native if leaf.key in self._raw else leaf.flat]
            if isinstance(space, gs.Box) and space.dtype != np.uint8
        }
        self._masks = [(name, mask_check(self.spaces[1][key])) for key, name in masks.items()]
        self._actions = [(key, action_check(space)) for key, space in self._act.space.items()]

    def observation(self, obs: Any) -> dict[str, np.ndarray]:
        """Flat arrays of an observation, without `log/` keys.

        Raises:
            ValueMismatchError: It does not fit its space.
        """
        flat = self.encode(obs)
        return {key: np.asarray(flat[key]) for key in self.spaces[0]}

    def encode(self, obs: Any, last: bool = False) -> dict[str, Any]:
        """Flat arrays and numpy scalars of an observation, which may share its memory.

        The masks of a last one, which ends an episode, do not matter.

        Raises:
            ValueMismatchError: It does not fit its space.
        """
        try:
            flat = self._obs.encode(obs)
        except ValueMismatchError as error:
            raise self.error(f"observation {error}") from error
        for key, check in self._checks.items():
            value = flat[key]
            if key in self._raw:
                value = np.asarray(reach(obs, self._raw[key].path), np.float32)
            if problem := check(value):
                self._outside(key, value, f"observation {key!r} {problem}")
        for name, check in [] if last else self._masks:
            if problem := check(flat[name]):
                raise self.error(f"the mask {name!r} {problem}")
        return flat

    def action(self, flat: Mapping[str, Any]) -> Any:
        """The action that the environment takes.

        Raises:
            ValueMismatchError: A key is missing, or its value does not fit.
        """
        for key, check in self._actions:
            if problem := check(flat.get(key)):
                raise self.error(f"the action {key!r} {problem}")
        return self._act.decode(flat)

    def error(self, message: str) -> ValueMismatchError:
        """What is wrong, with the place where it is."""
        return ValueMismatchError(f"{self._place()}: {message}")

    def _outside(self, key: str, value: np.ndarray, problem: str) -> None:
        """Warns of the first value outside its bounds, if it is a number and that is enough."""
        error = self.error(problem)
        finite = observation_check(None)
        if finite(value):
            raise error
        if self._bounds != "warn":
            raise OutOfBoundsError(str(error))
        self._checks = {**self._checks, key: finite}
        self.warnings[key] = f"{error} This one and later ones are let through."


def _unbounded(act: Codec) -> dict[str, str]:
    found = {}
    for leaf in act.leaves:
        if isinstance(leaf.native, gs.Box) and isinstance(leaf.flat, gs.Box):
            low, high, whole = used_range(leaf.native)
            if not whole:
                found[leaf.key] = f"[{low.min():g}, {high.max():g}]"
    return found


def _check_clash(obs: Codec, act: Codec) -> None:
    both = {leaf.key for leaf in obs.leaves} & {leaf.key for leaf in act.leaves}
    if both:
        raise SpaceError(
            f"{sorted(both)} name both an observation and an action. Rename the observation, for "
            "example with gymnasium.wrappers.TransformObservation."
        )
