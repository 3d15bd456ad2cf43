"""From a task name such as `dmc_walker_walk` to an environment."""

import dataclasses
import difflib
import functools
import importlib
import importlib.util
import inspect
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

import gymnasium
from gymnasium.envs.registration import EnvSpec

from reverie.envs.batched import BatchedVectorEnv
from reverie.envs.conform import spaces
from reverie.envs.errors import MissingPackageError, UnknownTaskError
from reverie.envs.seeds import env_seed, env_seeds
from reverie.envs.wrappers import wrap
from reverie.extras import install
from reverie.spaces import Space


@dataclasses.dataclass(frozen=True)
class Suite:
    """A family of tasks.

    Args:
        name: First part of its task names.
        package: What must be importable.
        extra: The extra of this project that installs it, empty when it needs nothing more.
        about: One line for people.
        also: A command that has to follow the installation of the extra, or stands for one, where
            a package asks for others that do harm; or where to read how it is built.
        batched: Whether one engine steps its environments together, see `make_vec`.
        slow: Whether a step takes so long that each environment is worth a process.
    """

    name: str
    package: str
    extra: str
    about: str
    also: str = ""
    batched: bool = False
    slow: bool = False

    @property
    def installed(self) -> bool:
        """Whether its package is found (without importing it)."""
        return importlib.util.find_spec(self.package) is not None

    @property
    def install(self) -> str:
        """What installs its package: a command, but for engines that have to be built."""
        extra = install(self.extra) if self.extra else ""
        return " && ".join(command for command in (extra, self.also) if command)


# What both packages require of others is older than what they work with.
PROCGEN = "pip install --no-deps procgen-mirror==0.10.7 gym3==0.3.3"

# No package index has it.
DMLAB = "build it as https://github.com/google-deepmind/lab/blob/master/docs/users/build.md says"
# Its build needs more than a command.
MINERL = (
    "install Java 8, then build minerl 0.4.4, which downloads the game client "
    "(docs/environments.md, github.com/minerllabs/minerl)"
)

SUITES = {
    suite.name: suite
    for suite in (
        Suite("gym", "gymnasium", "", "any registered gymnasium id, module:Id or module:Class"),
        Suite(
            "dmc",
            "dm_control",
            "dmc",
            "DeepMind Control Suite, proprioception or images",
            slow=True,
        ),
        Suite("crafter", "crafter", "crafter", "open-world survival: reward, noreward", slow=True),
        Suite(
            "atari",
            "ale_py",
            "atari",
            "Atari 2600 games, full protocol",
            slow=True,
        ),
        Suite(
            "atari100k",
            "ale_py",
            "atari",
            "Atari 2600 games, 100k protocol",
            slow=True,
        ),
        Suite("bsuite", "bsuite", "bsuite", "behaviour suite: experiments by id, catch/0"),
        Suite("pinpad", "numpy", "", "coloured pads in the right order: three to eight"),
        Suite(
            "langroom",
            "langroom",
            "",
            "questions about a room: answer_only, echo",
            # Its dependency pygame would overwrite the pygame-ce that gymnasium draws with.
            "pip install --no-deps langroom",
        ),
        Suite("dm", "dm_env", "dm", "any dm_env environment as module:factory"),
        Suite(
            "procgen",
            "procgen",
            "procgen",
            "16 games with generated levels",
            PROCGEN,
            slow=True,
        ),
        Suite(
            "envpool",
            "envpool",
            "envpool",
            "any EnvPool id, in one pool: Pong-v5",
            batched=True,
        ),
        Suite(
            "memmaze",
            "memory_maze",
            "memmaze",
            "Memory Maze: 9x9 to 15x15, with variants",
            slow=True,
        ),
        Suite(
            "loconav", "dm_control", "dmc", "walkers in mazes and corridors: ant_maze_m", slow=True
        ),
        Suite(
            "dmlab", "deepmind_lab", "", "DeepMind Lab: DMLab-30 and other levels", DMLAB, slow=True
        ),
        Suite("minecraft", "minerl", "", "Minecraft: wood, climb, diamond", MINERL, slow=True),
        Suite("dummy", "numpy", "", "fast test tasks: disc, cont, multi, hybrid"),
    )
}


_WITH_MODULES = ("gym", "dm")
"""Suites whose tasks may name a module before a colon."""


def make(
    task: str, options: Mapping[str, Any] | None = None, *, index: int = 0, seed: int = 0
) -> gymnasium.Env:
    """Builds a wrapped environment.

    Args:
        task: `suite_name`, for example `gym_CartPole-v1`, `dmc_walker_walk`, `crafter_reward`,
            `dummy_disc`, or `gym_module:Id` to import a module that registers the id; or
            `module:Class` for a class or function that makes an environment.
        options: Settings of the suite, as in the configuration under `env.<suite>`.
        index: Which of several parallel environments this is.
        seed: Seed of the run; with `index` it seeds the first reset, unless that brings its own.

    Returns:
        An environment with flat `Dict` spaces, see `reverie.envs.wrap`.

    Raises:
        UnknownTaskError: No such suite or task; the message names the nearest ones.
        MissingPackageError: The suite's package is not installed; the message says how.
        TypeError: An option that the suite does not have.
        OptionError: A value that an option cannot have.
    """
    suite, name = split(task)
    module = _module(suite)
    options = dict(options or {})
    _check_options(suite, module, options)
    return SeedFirstReset(wrap(module.make(name, **options)), env_seed(seed, index))


def make_vec(
    task: str, num_envs: int, options: Mapping[str, Any] | None = None, *, seed: int = 0
) -> BatchedVectorEnv | None:
    """Builds environments that one engine steps together, where the suite has one.

    Its file then offers `make_vec(name, num_envs, seeds, **options)`, with the options of `make`.

    Args:
        task: As for `make`.
        num_envs: How many environments.
        options: Settings of the suite, as in the configuration under `env.<suite>`.
        seed: Seed of the run, from which those of the first reset derive.

    Returns:
        A vector environment with the spaces that `make` has; None where the suite has no engine.

    Raises:
        UnknownTaskError, MissingPackageError, TypeError: As for `make`.
    """
    suite, name = split(task)
    if not suite.batched:
        return None
    module = _module(suite)
    options = dict(options or {})
    _check_options(suite, module, options)
    return module.make_vec(name, num_envs, env_seeds(seed, num_envs), **options)


def spaces_of(
    source: str | Callable[[], gymnasium.Env], options: Mapping[str, Any] | None = None
) -> tuple[dict[str, Space], dict[str, Space]]:
    """Observation and action spaces, read from a temporary environment that is closed again.

    Args:
        source: A task name, or a function that builds an environment.
        options: Settings of the suite where `source` is a task name.
    """
    env = wrap(factory_of(source, options)())
    try:
        return spaces(env)
    finally:
        env.close()


def factory_of(
    source: str | Callable[[], gymnasium.Env],
    options: Mapping[str, Any] | None = None,
    *,
    index: int = 0,
    seed: int = 0,
) -> Callable[[], gymnasium.Env]:
    """A picklable function that builds the environment: for a task name, `make` with arguments."""
    if callable(source):
        return source
    made = functools.partial(make, source, dict(options or {}), index=index, seed=seed)
    spec = gymnasium.registry.get(source.partition("_")[2])
    return functools.partial(_registered, spec, made) if spec else made


def split(task: str) -> tuple[Suite, str]:
    """The suite of a task, and the task's name inside it."""
    prefix, _, name = task.partition("_")
    if ":" in task and prefix not in _WITH_MODULES:
        return SUITES["gym"], task
    if prefix in SUITES and name:
        return SUITES[prefix], name
    if task in gymnasium.registry:
        raise UnknownTaskError(f"The task {task!r} is a gymnasium id: write it as 'gym_{task}'.")
    if prefix in SUITES:
        raise UnknownTaskError(
            f"The task {task!r} has no name after its suite; try one of "
            f"{_some(tasks(prefix), prefix)}."
        )
    near = difflib.get_close_matches(prefix, SUITES, n=3, cutoff=0.5)
    raise UnknownTaskError(
        f"The task {task!r} starts with no known suite. "
        + (f"Did you mean {' or '.join(near)}? " if near else "")
        + f"Tasks are written suite_name, with the suites {', '.join(SUITES)}; or module:Class for "
        "an environment of your own."
    )


def full_name(task: str) -> str:
    """The name of a task with its suite, where a bare gymnasium id or `module:Id` is given too.

    What is registered under the whole name wins, also where it begins like a suite does.
    """
    prefix, _, rest = task.partition("_")
    module, colon, name = task.partition(":")
    if task in gymnasium.registry:
        return f"gym_{task}"
    if prefix in _WITH_MODULES:
        meant = colon and not _exists(rest.partition(":")[0]) and _exists(module)
        return f"gym_{task}" if meant else task
    # The id of an environment may look like the name of a class, which `gym` finds as well.
    is_id = colon and not all(part.isidentifier() for part in name.split("."))
    return f"gym_{task}" if is_id else task


def tasks(suite: str) -> list[str]:
    """Names of the tasks of a suite, without the suite's own name and `_` in front."""
    return _module(SUITES[suite]).tasks()


def _registered(spec: EnvSpec, factory: Callable[[], gymnasium.Env]) -> gymnasium.Env:
    """Makes an environment by an id that the program may have registered in another process."""
    gymnasium.registry.setdefault(spec.id, spec)
    return factory()


class SeedFirstReset(gymnasium.Wrapper):
    """Gives the first reset a seed when it comes without one."""

    def __init__(self, env: gymnasium.Env, seed: int):
        super().__init__(env)
        self._seed: int | None = seed

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Starts an episode."""
        seed = self._seed if seed is None else seed
        self._seed = None
        return self.env.reset(seed=seed, options=options)


def _exists(module: str) -> bool:
    """Whether there is a file of a module, not just a folder of its name."""
    try:
        spec = importlib.util.find_spec(module)
        return spec is not None and spec.origin is not None
    except (ImportError, ValueError):
        return False


def _module(suite: Suite) -> ModuleType:
    """Imports the file of a suite, which imports the package behind it."""
    if not suite.installed:
        raise MissingPackageError(
            f"The suite {suite.name!r} needs the package {suite.package}: {suite.install}"
        )
    try:
        return importlib.import_module(f"reverie.envs.suites.{suite.name}")
    except ImportError as error:
        raise MissingPackageError(
            f"The suite {suite.name!r} cannot import what it needs ({error}): {suite.install}"
        ) from error


def _check_options(suite: Suite, module: ModuleType, options: Mapping[str, Any]) -> None:
    known = list(inspect.signature(module.make).parameters)[1:]
    for key in options:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            raise TypeError(
                f"env.{suite.name}.{key}: the suite has no such option. "
                + (f"Did you mean {near[0]!r}? " if near else "")
                + f"It has {', '.join(known)}."
            )


def _some(names: list[str], prefix: str) -> str:
    return ", ".join(f"{prefix}_{name}" for name in names[:3])
