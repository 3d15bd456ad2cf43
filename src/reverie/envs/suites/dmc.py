"""DeepMind Control Suite as a gymnasium environment.

Tassa et al., "dm_control: Software and Tasks for Continuous Control" (arXiv 2006.12983).
"""

import difflib
from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces as gs

from reverie.envs.errors import UnknownTaskError
from reverie.envs.suites.control import apply
from reverie.envs.suites.rendering import prepare

CAMERAS = {"quadruped": 2}
"""Cameras of published results; all other domains use 0."""

ALIASES = {"cup_catch": "ball_in_cup_catch"}


class ControlSuite(gymnasium.Env):
    """One task of the suite.

    Observations are a dictionary: the task's own arrays as float32, and `image`. The task ends by
    termination when its discount is 0 and by truncation at its time limit.

    Args:
        domain: Such as `walker`.
        task: Such as `walk`.
        repeat: Apply each action this many times and sum the rewards; draws only the last image.
        size: Height and width of the image.
        camera: Number of the camera; negative chooses the one that shows the domain best.
        image: Whether to draw images.
        proprio: Whether to give the task's arrays.

    Raises:
        RenderingError: Images are wanted and no OpenGL library works.
    """

    metadata = {"render_modes": ["rgb_array"]}  # noqa: RUF012 (gymnasium's own interface)
    render_mode = "rgb_array"

    def __init__(
        self,
        domain: str,
        task: str,
        repeat: int = 1,
        size: Sequence[int] = (64, 64),
        camera: int = -1,
        image: bool = True,
        proprio: bool = True,
    ):
        if not (image or proprio):
            raise ValueError("image=False and proprio=False leave no observation. Turn one on.")
        if repeat < 1:
            raise ValueError(f"repeat={repeat}: an action is applied at least once.")
        from dm_control import suite

        self.task_name = f"dmc_{domain}_{task}"
        self._control = suite.load(domain, task)
        self._repeat = repeat
        self._height, self._width = size
        self._camera = CAMERAS.get(domain, 0) if camera < 0 else camera
        self._image = image
        specs = self._control.observation_spec() if proprio else {}
        self._keys = list(specs)
        entries: dict[str, gymnasium.Space] = {
            key: gs.Box(-np.inf, np.inf, spec.shape, np.float32) for key, spec in specs.items()
        }
        if image:
            entries["image"] = gs.Box(0, 255, (self._height, self._width, 3), np.uint8)
        self.observation_space = gs.Dict(entries)
        bounds = self._control.action_spec()
        self.action_space = gs.Box(
            bounds.minimum.astype(np.float32), bounds.maximum.astype(np.float32), dtype=np.float32
        )

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Starts an episode."""
        super().reset(seed=seed)
        if seed is not None:
            self._control.task.random.seed(int(self.np_random.integers(2**32)))
        return self._observe(self._control.reset()), {}

    def step(
        self, action: np.ndarray
    ) -> tuple[dict[str, np.ndarray], float, bool, bool, dict[str, Any]]:
        """Applies the action `repeat` times."""
        found, total = apply(self._control, action, self._repeat)
        terminated = found.last() and found.discount == 0
        return self._observe(found), total, terminated, found.last() and not terminated, {}

    def render(self) -> np.ndarray:
        """The current image [height, width, 3]."""
        return self._control.physics.render(self._height, self._width, camera_id=self._camera)

    def close(self) -> None:
        """Frees the physics and the drawing context."""
        # The suite's own close() frees nothing, and contexts that live on complain at exit.
        self._control.physics.free()

    def _observe(self, found: Any) -> dict[str, np.ndarray]:
        values = found.observation
        observation = {key: np.asarray(values[key], np.float32) for key in self._keys}
        if self._image:
            observation["image"] = self.render()
        return observation


def make(
    name: str,
    repeat: int = 1,
    size: Sequence[int] = (64, 64),
    camera: int = -1,
    image: bool = True,
    proprio: bool = True,
) -> gymnasium.Env:
    """Builds a task of the suite; the options are those of `ControlSuite`.

    Args:
        name: Domain and task, such as `walker_walk` or `ball_in_cup_catch` (also `cup_catch`).
        repeat: Apply each action this many times and sum the rewards.
        size: Height and width of the image.
        camera: Number of the camera; negative chooses a good one.
        image: Whether to draw images.
        proprio: Whether to give the task's arrays.

    Raises:
        UnknownTaskError: The suite has no such task.
    """
    known = _tasks()
    pair = known.get(ALIASES.get(name, name))
    if pair is None:
        near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
        raise UnknownTaskError(
            f"The DM Control suite has no task {name!r}. "
            + (f"Did you mean {' or '.join(f'dmc_{each}' for each in near)}? " if near else "")
            + "See reverie.envs.tasks('dmc') for all of them."
        )
    prepare(image)
    return ControlSuite(*pair, repeat, size, camera, image, proprio)


def tasks() -> list[str]:
    """Names of the tasks."""
    return list(_tasks())


def _tasks() -> dict[str, tuple[str, str]]:
    """Task name -> domain and task."""
    # Importing the suite fixes how this process draws, so that choice comes first.
    prepare(images=False)
    from dm_control import suite

    return {f"{domain}_{task}": (domain, task) for domain, task in suite.ALL_TASKS}
