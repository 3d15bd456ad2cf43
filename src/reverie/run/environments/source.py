"""Where the environments of a run come from, and what is known of them before it begins."""

import contextlib
import dataclasses
import functools
import pathlib
from collections.abc import Callable
from typing import Any

import gymnasium

from reverie.config.checks import fitting_size
from reverie.config.schema import Config, RunConfig
from reverie.config.sections.env import EnvConfig
from reverie.envs import registry, wrappers
from reverie.envs.flat.conform import native
from reverie.envs.flat.converter import Converter
from reverie.envs.notes import notes, resize_note
from reverie.envs.probe import Probe, probe
from reverie.envs.vector.backend import choose
from reverie.envs.vector.batched import BatchedVectorEnv
from reverie.envs.vector.processes import probe_in_process
from reverie.errors import ConfigError
from reverie.options import ForeignConfig
from reverie.run.environments.film import filmed
from reverie.spaces import Space

Factory = Callable[[], gymnasium.Env]

CUSTOM = "custom"
"""Suite in the task names of runs on environments that users passed."""


@dataclasses.dataclass(frozen=True)
class EnvSpaces:
    """The spaces of an environment.

    Attributes:
        obs: Observation keys of the agent.
        act: Action keys of the agent.
        native_obs: Observation space before Reverie's wrappers.
        native_act: Action space before Reverie's wrappers.
        notes: What people should know about the environment.
    """

    obs: dict[str, Space]
    act: dict[str, Space]
    native_obs: gymnasium.Space
    native_act: gymnasium.Space
    notes: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class EnvSource:
    """Where the environments of a run come from.

    Args:
        task: Task name, used unless there is a factory of the user.
        config: Settings of the suites.
        custom: Makes one unwrapped environment of the user; None takes the task.
        example: An environment that is there already, to look at before any is made.
        limits: Options of `run` that these environments dictate.
        note: What people should know about them.
        filmed: Whether a picture of every step is added as the key `log/video`.
        folder: Run folder, where a suite with the option `record` writes files of its own; with
            None it writes none.
        max_steps: Steps after which an episode is cut, as a truncation; 0 is no limit.
        seen: What was seen of one of them; None before `resolved`.
    """

    task: str
    config: EnvConfig = dataclasses.field(default_factory=EnvConfig)
    custom: Factory | None = None
    example: gymnasium.Env | None = None
    limits: dict[str, Any] = dataclasses.field(default_factory=dict)
    note: str = ""
    filmed: bool = False
    folder: pathlib.Path | None = None
    max_steps: int = 0
    seen: Probe | None = None

    @property
    def suite(self) -> str:
        """The suite whose settings count: that of gymnasium for environments of the user."""
        return "gym" if self.custom is not None else registry.split(self.task)[0].name

    @property
    def slow(self) -> bool:
        """Whether its suite says that a step is worth a process."""
        return self.custom is None and registry.split(self.task)[0].slow

    def factory(self) -> Factory:
        """A picklable callable that makes one wrapped environment."""
        factory = self._factory()
        if self.max_steps:
            factory = functools.partial(wrappers.limited, factory, self.max_steps)
        if not self.filmed:
            return factory
        plain = dataclasses.replace(self, filmed=False).factory()
        return functools.partial(filmed, factory, plain)

    def resolved(self, config: Config) -> "EnvSource":
        """The same after one environment was probed, with a size of images that the agent takes.

        That takes one environment at most, which is closed again: in a process of its own
        where all of them have one. It shows whether infos have masks, for which the others would
        have to be reset too.
        """
        found = dataclasses.replace(self, seen=self.seen or self._probe(config.run))
        options = getattr(self.config, self.suite)
        if config.random_agent or not isinstance(options, ForeignConfig) or options.size:
            return found
        shown = found.spaces().obs
        size = fitting_size(shown, config.agent)
        if not size:
            return found
        note = resize_note(shown, size, self.suite)
        options = options.model_copy(update={"size": size})
        return dataclasses.replace(
            found,
            config=self.config.model_copy(update={self.suite: options}),
            note=f"{self.note} {note}".strip(),
        )

    def fps(self, default: float) -> float:
        """Frames per second of a film: those of the environment, if it was seen and says so."""
        return (self.seen and self.seen.fps) or default

    def engine_maker(self, count: int) -> Callable[..., BatchedVectorEnv | None] | None:
        """A picklable callable that makes so many environments as one engine, from a `seed`.

        None where their suite has no engine, or nothing could use one.
        """
        if self.custom is not None or self.filmed or self.max_steps:
            return None
        if not registry.split(self.task)[0].batched:
            return None
        return functools.partial(registry.make_vec, self.task, count, self._options())

    def make(self) -> gymnasium.Env:
        """One environment without Reverie's wrappers."""
        return native(self.factory()())

    def spaces(self) -> EnvSpaces:
        """The spaces, of the environment that was looked at or else of a temporary one."""
        seen = self.seen or self._probe()
        options = getattr(self.config, self.suite)
        # Other suites draw their images in the size of the option.
        size = options.size if isinstance(options, ForeignConfig) else ()
        both = seen.observation_space, seen.action_space
        converter = Converter(*both, size, seen.name)
        findings = *notes(converter), *seen.notes
        found = [f"{each.problem} {each.mend}".strip() for each in findings]
        # Images are recognized before they are resized.
        own = [self.note] if self.note else []
        return EnvSpaces(*converter.spaces, *both, (*found, *own))

    def _probe(self, run: RunConfig | None = None) -> Probe:
        """Looks at an environment, where the run's are going to be."""
        factory, example = self._factory(), self.example
        if example is not None:
            return probe(wrappers.made(lambda: example, self._wrapping()))
        backend = run.env_backend if run and run.env_backend != "native" else "auto"
        if run and choose([factory] * run.envs, backend, self.slow)[0] == "async":
            return probe_in_process(factory)
        with contextlib.closing(factory()) as env:
            return probe(env)

    def _factory(self) -> Factory:
        if self.custom is not None:
            return functools.partial(wrappers.made, self.custom, self._wrapping())
        if self.task.startswith(f"{CUSTOM}_"):
            raise ConfigError(
                f"The task {self.task!r} is an environment that was passed from Python, which no "
                "name can find. Train it on by the same script: reverie.train(env, logdir=...); "
                "evaluate it by reverie.load(logdir).evaluate(env), or by reverie eval FOLDER "
                "--task module:Class where that is its class or what makes it."
            )
        return registry.factory_of(self.task, self._options())

    def _wrapping(self) -> dict[str, Any]:
        """Options of `wrappers.wrap` for environments of the user."""
        return {key: value for key, value in self._options().items() if key != "kwargs"}

    def _options(self) -> dict[str, Any]:
        options = getattr(self.config, self.suite).model_dump()
        if self.seen is not None and options.get("info_mask") == "auto":
            options["info_mask"] = "use" if self.seen.masked else "ignore"
        if self.folder is None:
            options.pop("record", None)
        elif options.get("record") and options.get("folder") == "":
            options["folder"] = str(self.folder / self.suite)
        if self.filmed and self.suite in ("gym", "envpool"):
            options["kwargs"] = {"render_mode": "rgb_array", **options["kwargs"]}
        return options
