"""From the configuration to the parts of a run: each function makes one part."""

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from reverie.agent.agent import Agent
from reverie.config.schema import Config, LoggerConfig, RunConfig
from reverie.envs import registry
from reverie.envs.vector import restarts, seeds, vector
from reverie.errors import ConfigError
from reverie.learner.placement.devices import Placement, configure, resolve_dtype
from reverie.learner.placement.hosts import Hosts, connect
from reverie.run.environments.source import EnvSource
from reverie.spaces import Space, mask_keys
from reverie.track.logger import Logger
from reverie.track.sinks.base import Sink
from reverie.track.sinks.registry import make_sinks

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
    episodes: int = 0,
    cancelled: Callable[[], bool] = lambda: False,
) -> vector.VectorEnv:
    """Parallel environments, each with a seed of its own that derives from the run's.

    Args:
        source: Makes the environments.
        run: Numbers and backend.
        seed: Seed of the run.
        episodes: How many an evaluation will play in them; 0 for training, whose environments
            have other seeds.
        cancelled: Ends the waiting for environments, by `envs.Cancelled`, when it returns True.

    Raises:
        ConfigError: `run.env_backend` is `native` and the suite has no engine.
    """
    count = run.envs
    if episodes:
        count, seed = min(run.eval_envs, episodes), eval_seed(seed)
        source = dataclasses.replace(source, max_steps=run.eval_max_steps)
    return envs_maker(source, run, count, cancelled=cancelled)(seed)


def envs_maker(
    source: EnvSource, run: RunConfig, count: int, **options: Any
) -> Callable[[int], vector.VectorEnv]:
    """What makes so many parallel environments from a seed, also in another process.

    The options are those of `Restarts`.

    Raises:
        ConfigError: `run.env_backend` is `native` and the suite has no engine.
    """
    factories, backend = [source.factory()] * count, run.env_backend
    engine = source.engine_maker(count) if backend in ("auto", "native") else None
    if backend == "native" and engine is None:
        if not (source.filmed or source.max_steps):
            raise ConfigError(_no_engine(source.task))
        backend = "auto"
    return functools.partial(
        vector.open_envs,
        factories,
        engine,
        backend=backend,
        timeout=run.env_timeout or None,
        restarts=restarts.Restarts.of(run, **options),
        slow=source.slow,
    )


def agent(
    config: Config, obs_space: Mapping[str, Space], act_space: Mapping[str, Space], platform: str
) -> Agent:
    """The agent without its parameters, for a kind of device."""
    images = any(space.kind == "image" for space in obs_space.values())
    return Agent(
        config.agent,
        dict(obs_space),
        dict(act_space),
        context=config.replay_context,
        dtype=resolve_dtype(config.jax.compute_dtype, platform),
        # A third less memory for an eighth more operations: on a CPU these are what takes the time.
        remat=images and platform != "cpu",
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


def logger(
    config: LoggerConfig,
    logdir: pathlib.Path,
    step: Callable[[], int],
    sinks: Sequence[Sink] = (),
    **about: Any,
) -> Logger:
    """Metrics to where `config.outputs` says and to other sinks; `about` is for `make_sinks`."""
    about |= {"step": step, "filter": config.filter, "fps": config.fps}
    return Logger([*make_sinks(config.outputs, logdir, **about), *sinks], step)


def hosts(config: Config) -> Hosts:
    """The processes of a run, found before JAX starts."""
    jax = config.jax
    where = jax.coordinator, jax.processes, jax.process
    if jax.coordinator == "ray":
        from reverie.actors.cluster.meeting import meet  # It needs Ray.

        name = f"{config.task}-{config.seed}-{jax.processes}"
        address, number = meet(name, jax.processes, jax.connect_timeout)
        where = address, jax.processes, number
    return connect(*where, jax.connect_timeout)


def placement(config: Config, hosts: Hosts | None = None) -> Placement:
    """The devices of a run; starts JAX."""
    jax = config.jax
    return configure(
        jax.platform,
        devices=jax.devices,
        policy_device=jax.policy_device,
        mock_devices=jax.mock_devices,
        batch_size=config.batch_size,
        shards=jax.shards,
        prealloc=jax.prealloc,
        cache_dir=jax.cache_dir,
        hosts=hosts,
    )


def _no_engine(task: str) -> str:
    having = ", ".join(suite.name for suite in registry.all_suites().values() if suite.batched)
    return (
        f"run.env_backend is native, but {task!r} has no engine that steps all environments "
        f"together. Set run.env_backend auto, or use a suite that has one: {having}."
    )
