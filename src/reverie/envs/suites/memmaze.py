"""Memory Maze as a gymnasium environment.

Pasukonis et al., "Evaluating Long-Term Memory in 3D Mazes" (arXiv 2210.13383).
"""

import functools
from types import SimpleNamespace
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces as gs

from reverie.config.sections.env import MemmazeConfig
from reverie.envs.errors import unknown_task
from reverie.envs.suites._common.control import ControlEnv, quiet, reseed_maze
from reverie.envs.suites._common.rendering import prepare
from reverie.envs.suites._common.submodules import import_submodule

SIZES = ("9x9", "11x11", "13x13", "15x15")

VARIANTS: dict[str, dict[str, Any]] = {
    "": {},
    "extra": {"global_observables": True},
    "6cl": {"randomize_colors": True},
    "hifreq": {"control_freq": 40},
    "vis": {"good_visibility": True},
}
"""Name of a variant -> what the package calls it."""


class MemoryMaze(ControlEnv):
    """A ball rolls through a random maze, to the object of the colour that the border shows.

    Six discrete actions: none, forward, left, right, forward-left, forward-right. Each object that
    is reached gives a reward of 1 and the next colour. Episodes have 1000, 2000, 3000 or 4000
    steps (ten times as many in `hifreq`), and end by truncation only.

    Observations are a dictionary of `image` and, on request, `target_color`. The variant `extra`
    adds float32 positions in grid cells (`agent_pos`, `agent_dir`, `target_pos`, `target_vec`,
    `targets_pos`, `targets_vec`) and the walls, `maze_layout`.

    Args:
        name: Size of the maze, `9x9`, `11x11`, `13x13` or `15x15`, and perhaps a variant, as in
            `15x15_extra`: `extra` observations, `6cl` six colours in every maze size, `hifreq` 40
            steps per second in place of 4, `vis` objects that walls do not hide.
        **options: Those of `MemmazeConfig`. With `color` the colour is RGB from 0 to 1.

    Raises:
        UnknownTaskError: There is no such maze.
        RenderingError: No OpenGL library works.
    """

    def __init__(self, name: str, **options: Any):
        given = MemmazeConfig(**options)
        if name not in tasks():
            raise unknown_task("memmaze", name, tasks())
        prepare(images=True)
        quiet()
        maze, _, variant = name.partition("_")
        # The border is drawn here: the package's own covers images below 64 pixels entirely.
        control = _build(maze, target_color_in_image=False, **VARIANTS[variant])
        height, width = given.size
        self._border = max(1, int(2 * np.sqrt(min(height, width) // 64)))
        self._frame: np.ndarray | None = None
        control.task._walker.observables.egocentric_camera.configure(height=height, width=width)
        self._colors = list(control.task._target_colors)
        specs = control.observation_spec()
        hidden = {"image"} if given.color else {"image", "target_color"}
        keys = {key: key for key in specs if key not in hidden}
        super().__init__(f"memmaze_{name}", control, keys, 1, given.size, camera="")
        space: Any = self.observation_space
        for key in keys.keys() & {"maze_layout", "target_color"}:
            space[key] = gs.Box(0, 1, specs[key].shape, np.float32)
        self.action_space = gs.Discrete(control.action_spec().num_values)

    def render(self) -> np.ndarray:
        """The current image [height, width, 3]."""
        if self._frame is None:
            raise gymnasium.error.ResetNeeded("Call reset() before render().")
        return self._frame

    def close(self) -> None:
        """Frees the physics and the drawing context."""
        if self._started:
            super().close()
            self._started, self._frame = False, None

    def _reseed(self) -> None:
        task = self._control.task
        reseed_maze(self._control, task._maze_arena, self.np_random)
        # Variants with random colours shuffle this list from where the last episode left it.
        task._target_colors[:] = self._colors

    def _observe(self, found: Any) -> dict[str, np.ndarray]:
        values, edge = found.observation, self._border
        image = np.array(values["image"])
        inside = image[edge:-edge, edge:-edge].copy()
        image[:] = (values["target_color"] * 255 * 0.7).astype(np.uint8)
        image[edge:-edge, edge:-edge] = inside
        self._frame = image
        return super()._observe(found)


make = MemoryMaze


def tasks() -> list[str]:
    """Names of the mazes and their variants."""
    return [f"{size}_{variant}".rstrip("_") for variant in VARIANTS for size in SIZES]


def _build(maze: str, **settings: Any) -> Any:
    """The package's environment; the same, with resets and steps that cost less."""
    module = _package()
    textures = module.labmaze_textures
    # Ten kinds of walls load all textures anew each, at every reset, although they may share them.
    module.labmaze_textures = SimpleNamespace(WallTextures=functools.cache(textures.WallTextures))
    try:
        return vars(module)[f"memory_maze_{maze}"](seed=0, **settings)
    finally:
        module.labmaze_textures = textures


@functools.cache
def _package() -> Any:
    """The tasks of the package, with objects that find out quickly whether they are touched."""
    tasks_module = import_submodule("memory_maze", "tasks")
    from dm_control.locomotion.props.target_sphere import TargetSphere

    class Target(TargetSphere):
        """Compares all contacts at once; a loop over them took two thirds of a step."""

        def _update_activation(self, physics: Any) -> None:
            if not self._activated and (physics.data.contact.geom == self._geom_id).any():
                self._activated = True
                physics.bind(self.material).rgba[-1] = 0

    # The name in that one module only, not in dm_control.
    maze_module: Any = import_submodule("memory_maze", "maze")
    maze_module.target_sphere = SimpleNamespace(TargetSphere=Target)
    return tasks_module
