"""What a run starts before its loop: environments, and compilers."""

import contextlib
import dataclasses

import jax

from reverie.actors.cluster.fleet import Fleet
from reverie.actors.collector import Collector, Resumable
from reverie.actors.host import HostCollector
from reverie.actors.inspected import Inspected
from reverie.agent.agent import AgentState
from reverie.config.schema import Config
from reverie.envs.vector.vector import VectorEnv
from reverie.run.parts import build, parallel
from reverie.run.parts.state import Run


def open_envs(run: Run, episodes: int = 0, *, filmed: bool = False) -> VectorEnv:
    """The environments of a run: for so many episodes of an evaluation, or with 0 for training."""
    config, source, shutdown = run.config, run.source, run.shutdown
    seed = config.seed if episodes else build.seed_at(run.share.seed, run.steps)
    if filmed:
        source = dataclasses.replace(source, filmed=True)
    if not episodes:
        source = dataclasses.replace(source, folder=run.folder.root)
    return build.vector_env(source, config.run, seed, episodes, lambda: bool(shutdown.requested))


def open_collector(
    run: Run,
    stack: contextlib.ExitStack,
    collector: Collector | None = None,
    fleet: Fleet | None = None,
) -> Collector:
    """What makes the steps of training: environments and the policy, if not others' actors."""
    own = collector is not None
    if collector is not None:
        run.logger.note(f"Steps come from {collector!r}.")
    elif fleet is not None:
        collector = parallel.open_actors(run, fleet)
    else:
        collector = _open_host(run)
    stack.callback(collector.close)
    run.collector = collector
    _go_on(run, collector)
    actions = run.learner.agent.act_space if run.learner else {}
    return Inspected(collector, actions, run.config.run.env_timeout) if own else collector


def _open_host(run: Run) -> HostCollector:
    envs = open_envs(run)
    named = f"{envs.num_envs} environment{'s' * (envs.num_envs > 1)}"
    origin = run.config.sources.get("run.env_backend", "")
    given = origin and run.config.run.env_backend != "auto"
    origin = f" It was set by {origin}." if given else ""
    run.logger.note(f"{named}, backend {envs.backend}: {envs.choice}{origin}")
    return HostCollector(envs, run.policy, acting=run.watches["policy"])


def _go_on(run: Run, collector: Collector) -> None:
    """Ends the streams in replay that a collector of this package does not go on with."""
    if isinstance(collector, Resumable):
        collector.restore(run.progress.collected)
        streams = collector.streams
    elif isinstance(collector, HostCollector):
        streams = range(collector.envs.num_envs)
    else:
        return
    for stream in set(run.replay.open_streams()).difference(streams):
        run.replay.end(stream)


def prepare(run: Run, own: bool = False) -> None:
    """Starts to compile what the run will need, in the order in which it needs it.

    Args:
        run: What the run is made of.
        own: Whether steps come from a collector of the user, which acts for itself.
    """
    config, left = run.config, (run.config.run.steps - run.steps) // run.together.hosts.count
    if run.steps >= config.run.steps:
        run.logger.note(
            f"Nothing is left to train: the run has {run.steps:,} steps, and run.steps, which "
            f"counts all of them, is {config.run.steps:,}."
        )
    if not run.learner or left <= 0:
        return
    if not own:
        run.policy.prepare(config.run.envs)
    run.logger.note(f"Model: {model_line(run.learner.shapes)}.")
    run.logger.note(f"Updates: {updates_line(config)}.")
    # But for steps at the ends of episodes.
    first_batch = run.share.batch_size * run.replay.length
    enough = len(run.replay) + left >= first_batch
    if enough and config.run.train_ratio:
        off = config.jax.cache_dir == "off"
        kept = "" if off else ", and seconds where an earlier start did it"
        run.logger.note(f"Compiling: about 20 seconds on a CPU{kept}.")
        run.learner.prepare("train", run.batches.example())
    elif not enough:
        run.logger.note(
            f"This run will learn nothing: the first update needs {first_batch:,} steps in "
            f"replay, and run.steps is {config.run.steps:,}."
        )
    if config.script == "train_eval":
        run.policy.prepare(min(config.run.eval_envs, config.run.eval_eps), "eval")


def model_line(state: AgentState) -> str:
    """The size of a model: how many numbers it learns, and bytes of the agent's state."""
    parameters = sum(x.size for x in jax.tree.leaves(state.params))
    size = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(state)) / 1e6
    return f"{parameters:,} parameters, {size:,.1f} MB with optimizer and slow copies"


def updates_line(config: Config) -> str:
    """What the train ratio means for a run."""
    per_step = config.run.train_ratio / (config.batch_size * config.batch_length)
    updates, warmup = config.run.steps * per_step, config.agent.opt.warmup
    mostly = f"; the learning rate rises until update {warmup:,} (agent.opt.warmup)"
    return (
        f"{per_step:.3g} per environment step (train_ratio {config.run.train_ratio:g} / "
        f"{config.batch_size} sequences of {config.batch_length} steps), "
        f"{updates:,.0f} in all{mostly if warmup > updates / 2 else ''}"
    )
