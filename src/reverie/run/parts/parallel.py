"""Training on the steps of actors in other processes."""

import dataclasses
import functools
import uuid
from typing import TYPE_CHECKING

import cloudpickle
import jax

from reverie.actors.cluster.actor import Work
from reverie.actors.cluster.engine.package import ClusterError
from reverie.actors.cluster.fleet import INFERENCE, Fleet
from reverie.actors.cluster.inference.server import Model
from reverie.actors.collector import Collector
from reverie.agent.agent import Agent
from reverie.envs.vector import seeds
from reverie.envs.vector.restarts import Restarts
from reverie.replay.replay import Replay
from reverie.run.environments.source import EnvSource
from reverie.run.parts import build
from reverie.run.parts.state import Run

if TYPE_CHECKING:
    from reverie.actors.cluster.inference.supervisor import Inference

ACTOR_INDEX = 1 << 22
"""Derives the seed of all actors from that of the training environments."""


def open_actors(run: Run, fleet: Fleet) -> Collector:
    """The collector of the steps that the actors of a run make."""
    from reverie.actors.cluster.collector import RayCollector

    config, note = run.config, run.logger.note
    for text in fleet.notes:
        note(text)
    _check_room(run)
    options = config.run
    if not isinstance(run.replay, Replay):
        restarts = Restarts.of(options, name="Replay shard {}", tell=note)
        run.replay.supervise(restarts.allow, note)
    session = uuid.uuid4().hex
    seed = seeds.env_seed(build.seed_at(config.seed, run.steps), ACTOR_INDEX)
    own = work(run, run.source, options.envs)
    inference = None
    if fleet.inference is not None:
        inference = _inference(run, fleet, own, session, seed)
        own = dataclasses.replace(own, agent=None, server=(INFERENCE, fleet.namespace))
    return RayCollector(
        fleet.actors,
        cloudpickle.dumps(own),
        session=session,
        seed=seed,
        push_every=config.ray.push_every,
        timeout=options.env_timeout,
        restarts=Restarts.of(options, name="Actor {}", tell=note),
        cancelled=lambda: run.shutdown.over,
        note=note,
        apart=not isinstance(run.replay, Replay),
        inference=inference,
    )


def _inference(run: Run, fleet: Fleet, own: Work, session: str, seed: int) -> "Inference":
    from reverie.actors.cluster.inference.supervisor import Inference

    assert own.agent
    config, options = run.config, run.config.run
    platform = config.ray.inference_platform
    model = Model(
        own.agent,
        config.jax.platform if platform == "auto" else platform,
        config.ray.inference_device,
        config.ray.actors,
        options.envs,
        config.jax.cache_dir,
        config.jax.fast_compile,
    )
    return Inference(
        fleet.inference,
        cloudpickle.dumps(model),
        session=session,
        seed=seeds.env_seed(seed, ACTOR_INDEX),
        timeout=options.env_timeout,
        restarts=Restarts.of(options, name="It", tell=run.logger.note),
    )


def _check_room(run: Run) -> None:
    """Raises ClusterError if what waits at once does not fit into the object stores of Ray."""
    import ray

    from reverie.actors.cluster.collector import AHEAD

    assert run.learner
    config = run.config
    chunk = run.replay.layout.nbytes(config.ray.chunk * config.run.envs)
    params = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(run.learner.shapes.params))
    # An old set of parameters goes when the last actor has a newer one.
    needed = config.ray.actors * AHEAD * chunk + 2 * params
    room = ray.cluster_resources().get("object_store_memory", needed)
    if needed > room:
        raise ClusterError(
            f"Ray's object store has {room / 1e6:,.0f} MB, and the chunks of {config.ray.actors} "
            f"actors ({chunk / 1e6:,.1f} MB each) with parameters ({params / 1e6:,.1f} MB) need "
            f"{needed / 1e6:,.0f} MB: lower ray.chunk, ray.actors or run.envs, or give Ray more "
            "(ray start --object-store-memory, or more /dev/shm)."
        )


def work(run: Run, source: EnvSource, count: int) -> Work:
    """What an actor with so many environments works with; none of it imports this package `run`."""
    config, spaces = run.config, run.source.spaces()
    agent = functools.partial(
        Agent,
        config.agent,
        spaces.obs,
        spaces.act,
        context=config.replay_context,
        # The latents in replay are of this type, whatever an actor would choose.
        dtype=config.jax.compute_dtype,
    )
    return Work(
        agent,
        build.envs_maker(source, config.run, count),
        config.ray.chunk,
        config.jax.cache_dir,
        config.jax.fast_compile,
    )
