"""From the configuration to the parts of a run: each function makes one part."""

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Mapping
from typing import Any, Literal

import gymnasium

from reverie import envs
from reverie.agent import Agent
from reverie.config import (
    Config,
    ConfigError,
    EnvConfig,
    GymConfig,
    LoggerConfig,
    RunConfig,
)
from reverie.envs.conform import Conform
from reverie.envs.native import NativeVectorEnv
from reverie.learner import Learner, Placement, configure, resolve_dtype
from reverie.run.video import filmed
from reverie.spaces import Space
from reverie.track import Logger, make_sinks

Factory = Callable[[], gymnasium.Env]
Role = Literal["train", "eval"]

CUSTOM = "custom"
"""Suite in the task names of runs on environments that users passed."""

EVAL_INDEX = 1 << 20
"""Derives the seed of evaluation; no training environment has so high a number."""

RESUME_INDEX = 1 << 24
"""Derives the seeds of training environments after a resume."""


@dataclasses.dataclass(frozen=True)
class EnvSpaces:
    """The spaces of an environment.

    Attributes:
        obs: Observation keys of the agent.
        act: Action keys of the agent.
        native_obs: Observation space before Reverie's wrappers.
        native_act: Action space before Reverie's wrappers.
        text: Keys of observed texts, which are left out.
    """

    obs: dict[str, Space]
    act: dict[str, Space]
    native_obs: gymnasium.Space
    native_act: gymnasium.Space
    text: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class EnvSource:
    """Where the environments of a run come from.

    Args:
        task: Task name, used unless there is a factory of the user.
        config: Settings of the suites.
        custom: Makes one unwrapped environment of the user; None takes the task.
        example: An environment that is there already, to look at before any is made.
        note: What people should know about them.
        filmed: Whether a picture of every step is added as the key `log/video`.
        folder: Run folder, where a suite with the option `record` writes files of its own; with
            None it writes none.
        max_steps: Steps after which an episode is cut, as a truncation; 0 is no limit.
    """

    task: str
    config: EnvConfig
    custom: Factory | None = None
    example: gymnasium.Env | None = None
    note: str = ""
    filmed: bool = False
    folder: pathlib.Path | None = None
    max_steps: int = 0

    def factory(self, index: int = 0, seed: int = 0) -> Factory:
        """A picklable callable that makes one wrapped environment.

        Args:
            index: Which of several parallel environments it is.
            seed: Seed of all of them.
        """
        factory = self._factory(index, seed)
        if self.max_steps:
            factory = functools.partial(_limited, factory, self.max_steps)
        return filmed(factory) if self.filmed else factory

    def resolved(self) -> "EnvSource":
        """The same, with `env.gym.info_mask` decided where it is `auto`.

        That takes one reset of a temporary environment; else every environment would be reset.
        """
        gym = self.config.gym
        of_gym = self.custom or envs.split(self.task)[0].name == "gym"
        if gym.info_mask != "auto" or not of_gym:
            return self
        env = self._factory(0, 0)()
        try:
            found = isinstance(native(env), envs.MaskFromInfo)
        finally:
            env.close()
        gym = gym.model_copy(update={"info_mask": "use" if found else "ignore"})
        return dataclasses.replace(self, config=self.config.model_copy(update={"gym": gym}))

    def engine(self, count: int, seed: int) -> NativeVectorEnv | None:
        """The environments as one engine, where their suite has one and nothing is filmed.

        Args:
            count: How many environments.
            seed: Seed of all of them.
        """
        if self.custom is not None or self.filmed or self.max_steps:
            return None
        return envs.make_vec(self.task, count, self._options(), seed=seed)

    def _factory(self, index: int, seed: int) -> Factory:
        if self.custom is not None:
            return functools.partial(_make_custom, self.custom, self.config.gym)
        return envs.factory_of(self.task, self._options(), index=index, seed=seed)

    def _options(self) -> dict[str, Any]:
        if self.task.startswith(f"{CUSTOM}_"):
            raise ConfigError(
                f"The task {self.task!r} is an environment of your own, which no name can find. "
                "Pass it: reverie.train(env, ...) or reverie.load(logdir).evaluate(env)."
            )
        suite = envs.split(self.task)[0].name
        section = getattr(self.config, suite, None)
        options = section.model_dump() if section else {}
        if self.folder is None:
            options.pop("record", None)
        elif options.get("record") and not options["folder"]:
            options["folder"] = str(self.folder / suite)
        if self.filmed and suite in ("gym", "envpool"):
            options["kwargs"] = {"render_mode": "rgb_array", **options["kwargs"]}
        return options

    def make(self) -> gymnasium.Env:
        """One environment without Reverie's wrappers."""
        return native(self.factory()())

    def spaces(self) -> EnvSpaces:
        """The spaces, read from a temporary environment that is closed again."""
        env = self.factory()()
        try:
            inner = native(env)
            both = inner.observation_space, inner.action_space
            return EnvSpaces(*envs.spaces(env), *both, env.get_wrapper_attr("text"))
        finally:
            env.close()


def native(env: gymnasium.Env) -> gymnasium.Env:
    """The environment inside the wrappers that `reverie.envs.wrap` added."""
    inner = env
    while isinstance(inner, gymnasium.Wrapper):
        found, inner = isinstance(inner, Conform), inner.env
        if found:
            return inner
    return env


def eval_seed(seed: int, number: int | None = None) -> int:
    """The seed of an evaluation.

    Args:
        seed: Seed of the run.
        number: Which of the evaluations inside the run it is; None for those outside of it.
    """
    seed = envs.env_seed(seed, EVAL_INDEX)
    return seed if number is None else envs.env_seed(seed, EVAL_INDEX + number)


def seed_at(seed: int, steps: int) -> int:
    """Seed of the training environments of a process that begins at a step of the run.

    A resumed run does not play the episodes of its start again.
    """
    return envs.env_seed(envs.env_seed(seed, RESUME_INDEX), steps) if steps else seed


def vector_env(
    source: EnvSource,
    run: RunConfig,
    seed: int,
    role: Role = "train",
    count: int = 0,
    cancelled: Callable[[], bool] = lambda: False,
) -> envs.VectorEnv:
    """Parallel environments, each with a seed of its own that derives from the run's.

    Args:
        source: Makes the environments.
        run: Numbers and backend.
        seed: Seed of the run.
        role: Training or evaluation, whose environments have different seeds.
        count: Number of environments; 0 takes the one of the role in `run`.
        cancelled: Ends the waiting for environments, by `envs.Cancelled`, when it returns True.

    Raises:
        ConfigError: `run.env_backend` is `native` and the suite has no engine for these settings.
    """
    count = count or (run.envs if role == "train" else run.eval_envs)
    if role == "eval":
        seed, source = eval_seed(seed), dataclasses.replace(source, max_steps=run.eval_max_steps)
    factories = [source.factory(index, seed) for index in range(count)]
    backend, engine = run.env_backend, None
    if backend in ("auto", "native"):
        engine = source.engine(count, seed)
    if backend == "native" and engine is None:
        if not (source.filmed or source.max_steps):
            raise ConfigError(_no_engine(source.task))
        backend = "auto"
    return envs.VectorEnv(
        factories,
        backend=backend,
        seeds=seed,
        timeout=run.env_timeout or None,
        restarts=envs.Restarts(run.env_max_restarts, run.env_restart_window, cancelled),
        native=engine,
    )


def agent(
    config: Config, obs_space: Mapping[str, Space], act_space: Mapping[str, Space]
) -> tuple[Agent, Placement]:
    """The agent without its parameters, and the devices that it is going to run on."""
    where = placement(config)
    made = Agent(
        config.agent,
        dict(obs_space),
        dict(act_space),
        context=config.replay_context,
        dtype=resolve_dtype(config.jax.compute_dtype, where),
    )
    return made, where


def learner(config: Config, agent: Agent, placement: Placement, logdir: pathlib.Path) -> Learner:
    """The agent on its devices, with initial parameters."""
    return Learner(
        agent,
        placement=placement,
        seed=config.seed,
        dump_folder=logdir,
        fast_compile=config.jax.fast_compile,
    )


def logger(
    config: LoggerConfig,
    logdir: pathlib.Path,
    step: Callable[[], int],
    total_steps: int = 0,
    duration: float = 0.0,
    options: Mapping[str, Any] | None = None,
    first_step: int | None = None,
    draw: Callable[[Callable[[], object]], object] = lambda job: job(),
) -> Logger:
    """Metrics to where `config.outputs` says; see `make_sinks`."""
    sinks = make_sinks(
        config.outputs,
        logdir,
        step=step,
        total_steps=total_steps,
        duration=duration,
        filter=config.filter,
        fps=config.fps,
        options=options,
        first_step=first_step,
        draw=draw,
    )
    return Logger(sinks, step)


def placement(config: Config) -> Placement:
    """The devices of a run; starts JAX."""
    jax = config.jax
    return configure(
        jax.platform,
        devices=jax.devices,
        policy_devices=jax.policy_devices,
        mock_devices=jax.mock_devices,
        batch_size=config.batch_size,
        prealloc=jax.prealloc,
        cache_dir=jax.cache_dir,
    )


def _no_engine(task: str) -> str:
    having = ", ".join(f"{s.name} ({s.native})" for s in envs.SUITES.values() if s.native)
    return (
        f"run.env_backend is native, but {task!r} with its settings has no engine that steps all "
        f"environments together. Set run.env_backend auto, or use a suite that has one: {having}."
    )


def _limited(factory: Factory, steps: int) -> gymnasium.Env:
    return gymnasium.wrappers.TimeLimit(factory(), steps)


def _make_custom(factory: Factory, config: GymConfig) -> gymnasium.Env:
    return envs.wrap(
        factory(),
        size=config.size,
        repeat=config.repeat,
        bounds=config.bounds,
        info_mask=config.info_mask,
    )
