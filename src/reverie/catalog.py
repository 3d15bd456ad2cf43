"""The suites of environments that there are: ours, and those that installed packages announce.

Nothing here imports an engine, so that the options of every suite are known without any.
"""

import dataclasses
import functools
import importlib.metadata
import importlib.util
import logging
import re

from reverie.extras import install

GROUP = "reverie.suites"
"""Entry points of this group, named as the suite, lead to the `Suite` of another package."""

log = logging.getLogger("reverie.envs")


@dataclasses.dataclass(frozen=True)
class Suite:
    """A family of tasks.

    Args:
        name: First part of its task names.
        package: What must be importable; empty when its own module is all.
        extra: The extra of this project that installs it, empty when it needs nothing more.
        about: One line for people.
        also: A command that has to follow the installation of the extra, or stands for one, where
            a package asks for others that do harm; or where to read how it is built.
        batched: Whether one engine steps its environments together, see `registry.make_vec`.
        slow: Whether a step takes so long that each environment is worth a process.
        module: Where its `make(name, **options)` and `tasks()` are. Empty: in our file of its name
            in `envs/suites`, and for a suite that a package announces where its entry point leads.
        options: Class of its options, of a package that announces it; ours are in the
            configuration.
    """

    name: str
    package: str = ""
    extra: str = ""
    about: str = ""
    also: str = ""
    batched: bool = False
    slow: bool = False
    module: str = ""
    options: type | None = None

    @property
    def installed(self) -> bool:
        """Whether its package is found (without importing it)."""
        return not self.package or importlib.util.find_spec(self.package) is not None

    @property
    def install(self) -> str:
        """What installs its package: a command, but for engines that have to be built."""
        extra = install(self.extra) if self.extra else ""
        return " && ".join(command for command in (extra, self.also) if command)


# What both packages require of others is older than what they work with.
PROCGEN = "pip install --no-deps procgen-mirror==0.10.7 gym3==0.3.3"
# Its dependency pygame would overwrite the pygame-ce that gymnasium draws with.
LANGROOM = "pip install --no-deps langroom"
# No package index has it.
DMLAB = "build it as https://github.com/google-deepmind/lab/blob/master/docs/users/build.md says"
# Its build needs more than a command.
MINERL = (
    "install Java 8, then build minerl 0.4.4, which downloads the game client "
    "(docs/environments.md, github.com/minerllabs/minerl)"
)

_OURS = (
    Suite("gym", "gymnasium", "", "any registered gymnasium id, module:Id or module:Class"),
    Suite(
        "dmc", "dm_control", "dmc", "DeepMind Control Suite, proprioception or images", slow=True
    ),
    Suite("crafter", "crafter", "crafter", "open-world survival: reward, noreward", slow=True),
    Suite(
        "atari",
        "ale_py",
        "atari",
        "Atari 2600 games, full protocol",
        slow=True,
        module="reverie.envs.suites.atari.env",
    ),
    Suite(
        "atari100k",
        "ale_py",
        "atari",
        "Atari 2600 games, 100k protocol",
        slow=True,
        module="reverie.envs.suites.atari.atari100k",
    ),
    Suite("bsuite", "bsuite", "bsuite", "behaviour suite: experiments by id, catch/0"),
    Suite("pinpad", "numpy", "", "coloured pads in the right order: three to eight"),
    Suite(
        "langroom",
        "langroom",
        "",
        "questions about a room: answer_only, echo",
        LANGROOM,
        slow=True,
    ),
    Suite("dm", "dm_env", "dm", "any dm_env environment as module:factory"),
    Suite("procgen", "procgen", "procgen", "16 games with generated levels", PROCGEN, slow=True),
    Suite("envpool", "envpool", "envpool", "any EnvPool id, in one pool: Pong-v5", batched=True),
    Suite(
        "memmaze", "memory_maze", "memmaze", "Memory Maze: 9x9 to 15x15, with variants", slow=True
    ),
    Suite("loconav", "dm_control", "dmc", "walkers in mazes and corridors: ant_maze_m", slow=True),
    Suite(
        "dmlab",
        "deepmind_lab",
        "",
        "DeepMind Lab: DMLab-30 and other levels",
        DMLAB,
        slow=True,
        module="reverie.envs.suites.dmlab.env",
    ),
    Suite(
        "minecraft",
        "minerl",
        "",
        "Minecraft: wood, climb, diamond",
        MINERL,
        slow=True,
        module="reverie.envs.suites.minecraft.env",
    ),
    Suite("dummy", "numpy", "", "fast test tasks: disc, cont, multi, hybrid"),
)
SUITES = {suite.name: suite for suite in _OURS}


@functools.cache
def announced() -> tuple[dict[str, Suite], dict[str, str]]:
    """The suites of installed packages by name, and why others of them cannot be used."""
    found: dict[str, Suite] = {}
    broken: dict[str, str] = {}
    for point in importlib.metadata.entry_points(group=GROUP):
        try:
            if point.name in found:
                raise ValueError(f"it is announced a second time, by {point.value}")
            found[point.name] = _loaded(point)
        except Exception as error:  # Whatever another package does: ours has to go on.
            owner = point.dist.name if point.dist else point.value
            reason = f"{type(error).__name__}: {error}"
            broken[point.name] = f"The suite {point.name!r} of {owner} cannot be used: {reason}"
            log.warning("%s", broken[point.name])
    return found, broken


def _loaded(point: importlib.metadata.EntryPoint) -> Suite:
    """The suite that an entry point leads to."""
    from reverie.options import Section  # Environment processes of our suites do without.

    suite = point.load()
    if not isinstance(suite, Suite):
        raise TypeError(f"{point.value} is no reverie.catalog.Suite but {type(suite).__name__}")
    if suite.name != point.name or not re.fullmatch("[a-z][a-z0-9]*", point.name):
        raise ValueError(
            f"its Suite is named {suite.name!r}: expected the name of the entry point, of small "
            "letters and digits"
        )
    if suite.name in {*SUITES, "custom"}:
        raise ValueError("Reverie has a suite of this name")
    options = suite.options or Section
    if not issubclass(options, Section):
        raise TypeError(f"its options {options.__name__} are no reverie.options.Section")
    options()  # Every option needs a valid default.
    return dataclasses.replace(suite, module=suite.module or point.module, options=options)
