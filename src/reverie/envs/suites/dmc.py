"""DeepMind Control Suite and its manipulation tasks as gymnasium environments.

Tassa et al., "dm_control: Software and Tasks for Continuous Control" (arXiv 2006.12983).
"""

from typing import Any

from reverie.config.sections.env import DmcConfig
from reverie.envs.errors import OptionError, unknown_task
from reverie.envs.suites._common.control import ControlEnv, composed, quiet
from reverie.envs.suites._common.rendering import prepare

CAMERAS = {"quadruped": 2}
"""Cameras of published results; all other domains use 0."""

ALIASES = {"cup_catch": "ball_in_cup_catch"}

OPENGL = {"quadruped_escape"}
"""Tasks that draw something even if nobody looks at it."""

MANIPULATION = "manip_"
"""Before the names of tasks of `dm_control.manipulation`."""

SECONDS = 10.0
"""Length of an episode of manipulation, as in the package."""


class ControlSuite(ControlEnv):
    """One task of the suite, see `ControlEnv`.

    Args:
        name: Domain and task, such as `walker_walk` or `ball_in_cup_catch` (also `cup_catch`), or
            `manip_` and a name of `dm_control.manipulation`, such as `manip_reach_site_features`.
        **options: Those of `DmcConfig`; with `repeat` only the last image is drawn.

    Raises:
        UnknownTaskError: There is no such task.
        OptionError: Nothing would be observed.
        RenderingError: Images are wanted and no OpenGL library works.
    """

    def __init__(self, name: str, **options: Any):
        given = DmcConfig(**options)
        if not (given.image or given.proprio):
            raise OptionError("image=False and proprio=False leave no observation. Turn one on.")
        name = ALIASES.get(name, name)
        known = tasks()
        if name not in known:
            raise unknown_task("dmc", name, known)
        prepare(given.image or name in OPENGL)
        control = _manipulation(name) if name.startswith(MANIPULATION) else _suite(name)
        camera = given.camera if given.camera >= 0 else CAMERAS.get(name.partition("_")[0], 0)
        keys = {key: key for key in (control.observation_spec() if given.proprio else {})}
        how = given.repeat, given.size, camera, given.image
        super().__init__(f"dmc_{name}", control, keys, *how)

    def _reseed(self) -> None:
        # Tasks of the suite have a generator of their own, those of `composer` the environment.
        random = getattr(self._control.task, "random", None) or self._control.random_state
        random.seed(int(self.np_random.integers(2**32)))


make = ControlSuite


def tasks() -> list[str]:
    """Names of the tasks."""
    # Importing the suite fixes how this process draws, so that choice comes first.
    prepare(images=False)
    from dm_control import manipulation

    return [*_pairs(), *(MANIPULATION + name for name in manipulation.ALL)]


def _pairs() -> dict[str, tuple[str, str]]:
    """Task name -> domain and task of the suite."""
    from dm_control import suite

    return {f"{domain}_{task}": (domain, task) for domain, task in suite.ALL_TASKS}


def _suite(name: str) -> Any:
    from dm_control import suite

    # Some models are drawn at random when they are loaded, and must be the same everywhere.
    return suite.load(*_pairs()[name], {"random": 0})


def _manipulation(name: str) -> Any:
    from dm_control.composer.observation.observable import MJCFCamera
    from dm_control.manipulation.shared import registry

    quiet()
    task = registry.get_constructor(name.removeprefix(MANIPULATION))()
    for observable in task.observables.values():
        if isinstance(observable, MJCFCamera):
            # Images are drawn after the last repeat only, in the size of the options.
            observable.enabled = False
    return composed(task, SECONDS)
