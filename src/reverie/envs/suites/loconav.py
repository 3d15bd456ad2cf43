"""Locomotion and navigation: walkers of dm_control in mazes and corridors.

Merel et al., "Hierarchical visuomotor control of humanoids" (arXiv 1811.09656).
"""

from typing import Any

import numpy as np

from reverie.config.sections.env import LoconavConfig
from reverie.envs.errors import OptionError, unknown_task
from reverie.envs.suites._common.control import ControlEnv, composed, reseed_maze
from reverie.envs.suites._common.rendering import prepare

MAZES = {"s": (7, 2), "m": (11, 4), "l": (15, 6), "xl": (21, 9)}
"""Name of a maze -> its cells per side with the outer walls, and the most rooms it has."""

WALKERS = ("ant", "humanoid")
ARENAS = (*(f"maze_{name}" for name in MAZES), "gaps", "walls")
CELL = 3.0  # metres
SECONDS = 60.0
PHYSICS, CONTROL = 0.005, 0.05


class LocoNav(ControlEnv):
    """A walker that sees through its own eyes.

    In a maze each visit of the green sphere gives a reward of 1 and moves the walker to a random
    room; the sphere stays where it is until the episode ends. Mazes and textures change with every
    episode. In a corridor with `gaps` or `walls` the reward is the speed along it, from 0 to 1 at
    3 metres per second.

    An ant ends the episode by termination when it lies on its back or falls into a gap; a humanoid
    also when anything but its feet touches the ground. The limit of 60 seconds, 1200 steps, is a
    truncation.

    Observations are a dictionary: the float32 sensors of the body, such as `joints_pos`, and
    `image`. Sensors without values are left out.

    Args:
        name: The walker, `ant` (8 actions) or `humanoid` (56 actions), and one of `ARENAS`, as in
            `ant_maze_m` or `humanoid_gaps`.
        **options: Those of `LoconavConfig`; with `repeat` only the last image is drawn.

    Raises:
        UnknownTaskError: There is no such task.
        RenderingError: No OpenGL library works.
        OptionError: There is no such camera.
    """

    def __init__(self, name: str, **options: Any):
        given = LoconavConfig(**options)
        if name not in tasks():
            raise unknown_task("loconav", name, tasks())
        prepare(images=True)
        self._task = task = _task(*name.split("_", 1))
        # Images are drawn after the last repeat only, so not as an observable.
        task._walker.observables.egocentric_camera.enabled = False
        control = composed(task, SECONDS)
        cameras = control.physics.model.ncam
        if given.camera >= cameras:
            raise OptionError(
                f"camera={given.camera}: loconav_{name} has cameras 0 to {cameras - 1}."
            )
        specs = control.observation_spec().items()
        keys = {key: key.removeprefix("walker/") for key, spec in specs if 0 not in spec.shape}
        camera = "walker/egocentric" if given.camera < 0 else given.camera
        super().__init__(f"loconav_{name}", control, keys, given.repeat, given.size, camera)

    def _reseed(self) -> None:
        arena = self._task.root_entity
        if hasattr(arena, "maze"):
            reseed_maze(self._control, arena, self.np_random)
            arena.texture_seeds = self.np_random
        else:
            super()._reseed()

    def _terminal(self, found: Any) -> bool:
        # The task knows why it ended; in mazes it lowers its discount one step too late.
        return found.discount == 0 or self._task._failure_termination


make = LocoNav


def tasks() -> list[str]:
    """Names of the tasks."""
    return [f"{walker}_{arena}" for walker in WALKERS for arena in ARENAS]


def _task(walker: str, arena: str) -> Any:
    from dm_control.locomotion import walkers
    from dm_control.locomotion.tasks import corridors, random_goal_maze

    falls = walker == "humanoid"
    body = (walkers.CMUHumanoidPositionControlled if falls else walkers.Ant)()
    times: Any = {"physics_timestep": PHYSICS, "control_timestep": CONTROL}
    if arena.startswith("maze_"):
        return random_goal_maze.RepeatSingleGoalMaze(
            walker=body,
            maze_arena=_maze(*MAZES[arena.removeprefix("maze_")]),
            max_repeats=2**31,
            contact_termination=falls,
            **times,
        )
    return corridors.RunThroughCorridor(
        walker=body,
        arena=_corridor(arena),
        walker_spawn_position=(1.0, 0, 0),
        contact_termination=falls,
        **times,
    )


def _maze(cells: int, rooms: int) -> Any:
    import labmaze
    from dm_control.locomotion.arenas import labmaze_textures, mazes

    class Maze(mazes.MazeWithTargets):
        """A maze whose textures follow a seed: the original draws them from numpy's global one."""

        texture_seeds = np.random.default_rng(0)

        def regenerate(self, random_state: Any = None) -> None:
            before = np.random.get_state()
            np.random.seed(int(self.texture_seeds.integers(2**32)))
            try:
                super().regenerate()
            finally:
                np.random.set_state(before)

    return Maze(
        maze=labmaze.RandomMaze(
            height=cells,
            width=cells,
            max_rooms=rooms,
            room_min_size=3,
            room_max_size=5 if cells > 7 else 3,
            spawns_per_room=1,
            objects_per_room=1,
            random_seed=1,
        ),
        xy_scale=CELL,
        skybox_texture=labmaze_textures.SkyBox(style="sky_03"),
        wall_textures=labmaze_textures.WallTextures(style="style_01"),
        floor_textures=labmaze_textures.FloorTextures(style="style_01"),
    )


def _corridor(arena: str) -> Any:
    from dm_control.composer.variation import distributions
    from dm_control.locomotion.arenas import corridors

    if arena == "gaps":
        return corridors.GapsCorridor(
            platform_length=distributions.Uniform(0.6, 2.5),
            gap_length=distributions.Uniform(0.3, 0.8),
            corridor_width=10,
            corridor_length=100,
        )
    return corridors.WallsCorridor(
        wall_gap=5.0,
        wall_width=distributions.Uniform(1, 7),
        wall_height=3.0,
        corridor_width=10,
        corridor_length=100,
        include_initial_padding=False,
    )
