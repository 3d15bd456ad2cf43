"""What the suites on dm_control share: one environment class, seeds of mazes, and quiet logs."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces as gs

UNLIMITED = 1e10
"""Bound that dm_control gives to actuators without limits."""

NOISE = ("Cannot set velocity on Entity", "Failed to converge after")
"""What dm_control says about walkers and arms at the start of nearly every episode."""


class ControlEnv(gymnasium.Env):
    """A task of dm_control.

    Observations are a dictionary: the task's own arrays as float32, and `image`. The task ends by
    termination when its discount is 0 and by truncation at its time limit.

    Args:
        keys: Names of the arrays that are observed -> what they are called.
        repeat: Apply each action this many times and sum the rewards; draws only the last image.
        size, camera: Height and width of the image, and the number or name of its camera.
        image: Whether to observe images.
    """

    metadata = {"render_modes": ["rgb_array"]}  # noqa: RUF012 (gymnasium's own interface)
    render_mode = "rgb_array"

    def __init__(
        self,
        name: str,
        control: Any,
        keys: Mapping[str, str],
        repeat: int,
        size: Sequence[int],
        camera: int | str,
        image: bool = True,
    ):
        self.task_name = name
        self._control = control
        self._keys = dict(keys)
        self._repeat, self._camera, self._image = repeat, camera, image
        self._height, self._width = size
        fps = 1 / (control.control_timestep() * repeat)
        self.metadata = {**self.metadata, "render_fps": round(fps, 3)}
        self._started = False
        specs = control.observation_spec()
        entries: dict[str, gymnasium.Space] = {
            name: gs.Box(-np.inf, np.inf, specs[key].shape, np.float32)
            for key, name in keys.items()
        }
        if image:
            entries["image"] = gs.Box(0, 255, (*size, 3), np.uint8)
        self.observation_space = gs.Dict(entries)
        action = control.action_spec()
        low = np.where(action.minimum > -UNLIMITED, action.minimum, -np.inf)
        high = np.where(action.maximum < UNLIMITED, action.maximum, np.inf)
        self.action_space: gymnasium.Space = gs.Box(low.astype(np.float32), high.astype(np.float32))

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Starts an episode."""
        super().reset(seed=seed)
        if seed is not None or not self._started:
            self._started = True
            self._reseed()
        return self._observe(self._control.reset()), {}

    def step(
        self, action: np.ndarray
    ) -> tuple[dict[str, np.ndarray], float, bool, bool, dict[str, Any]]:
        """Applies the action `repeat` times."""
        if not self._started:
            raise gymnasium.error.ResetNeeded("Call reset() before step().")
        found = self._control.step(action)
        total = float(found.reward)
        for _ in range(self._repeat - 1):
            if found.last():
                break
            found = self._control.step(action)
            total += float(found.reward)
        terminated = found.last() and self._terminal(found)
        return self._observe(found), total, terminated, found.last() and not terminated, {}

    def render(self) -> np.ndarray:
        """The current image [height, width, 3]."""
        return self._control.physics.render(self._height, self._width, camera_id=self._camera)

    def close(self) -> None:
        """Frees the physics and the drawing context."""
        # The suite's own close() frees nothing, and contexts that live on complain at exit.
        self._control.physics.free()

    def _reseed(self) -> None:
        """Makes what follows the next reset depend on `np_random` only."""
        self._control.random_state.seed(int(self.np_random.integers(2**31)))

    def _terminal(self, found: Any) -> bool:
        """Whether an episode has ended by termination."""
        return found.discount == 0

    def _observe(self, found: Any) -> dict[str, np.ndarray]:
        values = found.observation
        seen = {name: np.asarray(values[key], np.float32) for key, name in self._keys.items()}
        return {**seen, "image": self.render()} if self._image else seen


def composed(task: Any, seconds: float) -> Any:
    """The environment of a task of `dm_control.composer`, which stays off the log."""
    from dm_control import composer

    quiet()
    return composer.Environment(
        task, time_limit=seconds, random_state=0, strip_singleton_obs_buffer_dim=True
    )


def reseed_maze(control: Any, arena: Any, rng: np.random.Generator) -> None:
    """Makes everything that follows the next reset of a maze depend on a generator only.

    The text maze of the arena is made anew, with a seed of its own.
    """
    maze_seed, seed = (int(each) for each in rng.integers(1, 2**31 - 1, 2))
    control.random_state.seed(seed)
    old = arena._maze
    same = ("height", "width", "max_rooms", "room_min_size", "room_max_size", "max_variations")
    names = (*same, "spawns_per_room", "objects_per_room")
    arena._maze = type(old)(random_seed=maze_seed, **{name: getattr(old, name) for name in names})


def quiet() -> None:
    """Keeps dm_control from warnings that nobody can do anything about."""
    logging.getLogger("absl").addFilter(_wanted)


def _wanted(record: logging.LogRecord) -> bool:
    return not str(record.msg).startswith(NOISE)
