"""From the configuration to the parts of a run: each function makes one part."""

import dataclasses
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from reverie.agent.agent import Agent
from reverie.config.errors import ConfigError
from reverie.config.schema import Config, LoggerConfig, RunConfig
from reverie.envs import registry
from reverie.envs.vector import restarts, seeds, vector
from reverie.learner.compiler import Compiler
from reverie.learner.devices import Placement, configure, resolve_dtype
from reverie.learner.learner import Learner
from reverie.learner.policy import Params, Policy
from reverie.run.source import EnvSource
from reverie.spaces import Space, mask_keys
from reverie.track.logger import Logger
from reverie.track.sinks.base import Sink
from reverie.track.sinks.registry import make_sinks

Role = Literal["train", "eval"]

EVAL_INDEX = 1 << 20
"""Derives the seed of evaluation; no training environment has so high a number."""

RESUME_INDEX = 1 << 24
"""Derives the seeds of training environments after a resume."""


def eval_seed(seed: int, number: int | None = None) -> int:
    """The seed of an evaluation.

    Args:
        seed: Seed of the run.
        number: Which of the evaluations inside the run it is; None for those outside of it.
    """
    seed = seeds.env_seed(seed, EVAL_INDEX)
    return seed if number is None else seeds.env_seed(seed, EVAL_INDEX + number)


def seed_at(seed: int, steps: int) -> int:
    """Seed of the training environments of a process that begins at a step of the run.

    A resumed run does not play the episodes of its start again.
    """
    return seeds.env_seed(seeds.env_seed(seed, RESUME_INDEX), steps) if steps else seed


def vector_env(
    source: EnvSource,
    run: RunConfig,
    seed: int,
    role: Role = "train",
    count: int = 0,
    cancelled: Callable[[], bool] = lambda: False,
) -> vector.VectorEnv:
    """Parallel environments, each with a seed of its own that derives from the run's.

    Args:
        source: Makes the environments.
        run: Numbers and backend.
        seed: Seed of the run.
        role: Training or evaluation, whose environments have different seeds.
        count: Number of environments; 0 takes the one of the role in `run`.
        cancelled: Ends the waiting for environments, by `envs.Cancelled`, when it returns True.

    Raises:
        ConfigError: `run.env_backend` is `native` and the suite has no engine.
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
    return vector.VectorEnv(
        factories,
        backend=backend,
        seeds=seed,
        timeout=run.env_timeout or None,
        restarts=restarts.Restarts(run.env_max_restarts, run.env_restart_window, cancelled),
        engine=engine,
        slow=source.slow,
    )


def agent(
    config: Config, obs_space: Mapping[str, Space], act_space: Mapping[str, Space], platform: str
) -> Agent:
    """The agent without its parameters, for a kind of device."""
    return Agent(
        config.agent,
        dict(obs_space),
        dict(act_space),
        context=config.replay_context,
        dtype=resolve_dtype(config.jax.compute_dtype, platform),
    )


def for_acting(
    config: Config, obs_space: Mapping[str, Space], act_space: Mapping[str, Space]
) -> Config:
    """The configuration without the user's own objectives, whose modules may not be there.

    They stay where the built-in ones alone are no agent.
    """
    built_in = tuple(name for name in config.agent.objectives if ":" not in name)
    needed = {"reward", "continue", "actor_critic"}
    needed |= {"reconstruction"} if mask_keys(obs_space, act_space) else set()
    if not needed <= set(built_in):
        return config
    agent = config.agent.model_copy(update={"objectives": built_in, "extra": {}})
    return config.model_copy(update={"agent": agent})


def learner(
    config: Config,
    agent: Agent,
    placement: Placement,
    logdir: pathlib.Path,
    compiler: Compiler | None = None,
) -> Learner:
    """The agent on its devices, with initial parameters."""
    return Learner(
        agent,
        placement=placement,
        seed=config.seed,
        dump_folder=logdir,
        fast_compile=config.jax.fast_compile,
        compiler=compiler,
    )


def policy(
    config: Config,
    agent: Agent,
    device: Any,
    logdir: pathlib.Path,
    params: Params | None = None,
    compiler: Compiler | None = None,
) -> Policy:
    """What acts, on a device; with draws of its own that no learner makes."""
    return Policy(
        agent,
        params,
        device=device,
        seed=config.seed,
        dump_folder=logdir,
        fast_compile=config.jax.fast_compile,
        compiler=compiler,
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
    sinks: Sequence[Sink] = (),
) -> Logger:
    """Metrics to where `config.outputs` says, see `make_sinks`, and to other sinks."""
    named = make_sinks(
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
    return Logger([*named, *sinks], step)


def placement(config: Config) -> Placement:
    """The devices of a run; starts JAX."""
    jax = config.jax
    return configure(
        jax.platform,
        devices=jax.devices,
        policy_device=jax.policy_device,
        mock_devices=jax.mock_devices,
        batch_size=config.batch_size,
        prealloc=jax.prealloc,
        cache_dir=jax.cache_dir,
    )


def _no_engine(task: str) -> str:
    having = ", ".join(suite.name for suite in registry.all_suites().values() if suite.batched)
    return (
        f"run.env_backend is native, but {task!r} has no engine that steps all environments "
        f"together. Set run.env_backend auto, or use a suite that has one: {having}."
    )
