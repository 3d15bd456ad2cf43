"""DeepMind Control Suite and its manipulation tasks as gymnasium environments.

Tassa et al., "dm_control: Software and Tasks for Continuous Control" (arXiv 2006.12983).
"""

import dataclasses
import difflib
from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces as gs

from reverie.envs.errors import OptionError, UnknownTaskError
from reverie.envs.suites.control import action_space, apply
from reverie.envs.suites.mazes import quiet
from reverie.envs.suites.rendering import prepare

CAMERAS = {"quadruped": 2}
"""Cameras of published results; all other domains use 0."""

ALIASES = {"cup_catch": "ball_in_cup_catch"}

OPENGL = {"quadruped_escape"}
"""Tasks that draw something even if nobody looks at it."""

MANIPULATION = "manip_"
"""Before the names of tasks of `dm_control.manipulation`."""

SECONDS = 10.0
"""Length of an episode of manipulation, as in the package."""


@dataclasses.dataclass(frozen=True)
class Task:
    """A task of dm_control, loaded.

    Args:
        control: The environment.
        random: Where it draws everything random from.
        camera: Number of the camera that shows it best.
    """

    control: Any
    random: np.random.RandomState
    camera: int = 0


class ControlSuite(gymnasium.Env):
    """One task of dm_control.

    Observations are a dictionary: the task's own arrays as float32, and `image`. The task ends by
    termination when its discount is 0 and by truncation at its time limit.

    Args:
        name: Domain and task, such as `walker_walk` or `ball_in_cup_catch` (also `cup_catch`), or
            `manip_` and a name of `dm_control.manipulation`, such as `manip_reach_site_features`.
        repeat: Apply each action this many times and sum the rewards; draws only the last image.
        size: Height and width of the image.
        camera: Number of the camera; negative chooses the one that shows the domain best.
        image: Whether to draw images.
        proprio: Whether to give the task's arrays.

    Raises:
        UnknownTaskError: There is no such task.
        OptionError: Nothing would be observed.
        RenderingError: Images are wanted and no OpenGL library works.
    """

    metadata = {"render_modes": ["rgb_array"]}  # noqa: RUF012 (gymnasium's own interface)
    render_mode = "rgb_array"

    def __init__(
        self,
        name: str,
        repeat: int = 1,
        size: Sequence[int] = (64, 64),
        camera: int = -1,
        image: bool = True,
        proprio: bool = True,
    ):
        if not (image or proprio):
            raise OptionError("image=False and proprio=False leave no observation. Turn one on.")
        if repeat < 1:
            raise OptionError(f"repeat={repeat}: an action is applied at least once.")
        name = ALIASES.get(name, name)
        task = _load(name, image)
        self.task_name = f"dmc_{name}"
        self._control = task.control
        self._random = task.random
        self._started = False
        self._repeat = repeat
        self._height, self._width = size
        self._camera = task.camera if camera < 0 else camera
        self._image = image
        specs = self._control.observation_spec() if proprio else {}
        self._keys = list(specs)
        entries: dict[str, gymnasium.Space] = {
            key: gs.Box(-np.inf, np.inf, spec.shape, np.float32) for key, spec in specs.items()
        }
        if image:
            entries["image"] = gs.Box(0, 255, (self._height, self._width, 3), np.uint8)
        self.observation_space = gs.Dict(entries)
        self.action_space = action_space(self._control)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Starts an episode."""
        super().reset(seed=seed)
        if seed is not None or not self._started:
            self._started = True
            self._random.seed(int(self.np_random.integers(2**32)))
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


make = ControlSuite


def tasks() -> list[str]:
    """Names of the tasks."""
    # Importing the suite fixes how this process draws, so that choice comes first.
    prepare(images=False)
    from dm_control import manipulation

    return [*_pairs(), *(MANIPULATION + name for name in manipulation.ALL)]


def _load(name: str, image: bool) -> Task:
    known = tasks()
    if name not in known:
        near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
        raise UnknownTaskError(
            f"The DM Control suite has no task {name!r}. "
            + (f"Did you mean {' or '.join(f'dmc_{each}' for each in near)}? " if near else "")
            + "See reverie.envs.registry.tasks('dmc') for all of them."
        )
    prepare(image or name in OPENGL)
    return _manipulation(name) if name.startswith(MANIPULATION) else _suite(name)


def _pairs() -> dict[str, tuple[str, str]]:
    """Task name -> domain and task of the suite."""
    from dm_control import suite

    return {f"{domain}_{task}": (domain, task) for domain, task in suite.ALL_TASKS}


def _suite(name: str) -> Task:
    from dm_control import suite

    domain, task = _pairs()[name]
    # Some models are drawn at random when they are loaded, and must be the same everywhere.
    control = suite.load(domain, task, {"random": 0})
    return Task(control, control.task.random, CAMERAS.get(domain, 0))


def _manipulation(name: str) -> Task:
    from dm_control import composer
    from dm_control.composer.observation.observable import MJCFCamera
    from dm_control.manipulation.shared import registry

    quiet()
    task = registry.get_constructor(name.removeprefix(MANIPULATION))()
    for observable in task.observables.values():
        if isinstance(observable, MJCFCamera):
            # Images are drawn after the last repeat only, in the size of the options.
            observable.enabled = False
    control = composer.Environment(
        task, time_limit=SECONDS, random_state=0, strip_singleton_obs_buffer_dim=True
    )
    return Task(control, control.random_state)
