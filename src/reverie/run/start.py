"""What a run starts before its loop: environments, and compilers."""

import contextlib
import dataclasses

import jax

from reverie.actors.collector import Collector
from reverie.actors.host import HostCollector
from reverie.config.schema import Config
from reverie.envs.vector.vector import VectorEnv
from reverie.learner.learner import Learner
from reverie.run import build, experience
from reverie.run.evaluator import Evaluator
from reverie.run.held_out import HeldOut
from reverie.run.setup import Run
from reverie.run.shutdown import Shutdown


def open_envs(
    config: Config,
    source: build.EnvSource,
    run: Run,
    shutdown: Shutdown,
    stack: contextlib.ExitStack,
    collector: Collector | None = None,
) -> tuple[Collector, Evaluator | None, HeldOut | None]:
    """What makes the steps of training; if there are evaluations, what plays and keeps them too."""

    def cancelled() -> bool:
        return shutdown.requested is not None

    if collector is None:
        training = dataclasses.replace(source, folder=run.folder.root)
        seed = build.seed_at(config.seed, run.progress.steps)
        envs = build.vector_env(training, config.run, seed, cancelled=cancelled)
        collector = HostCollector(envs, run.policy, waiting=shutdown.interruptible)
        _note_envs(config, run, envs)
    else:
        run.logger.note(f"Steps come from {collector!r}.")
    stack.callback(collector.close)
    if config.script != "train_eval":
        for note in ineffective(config):
            run.logger.note(note)
        return collector, None, None
    count = min(config.run.eval_envs, config.run.eval_eps)
    others = build.vector_env(source, config.run, config.seed, "eval", count, cancelled=cancelled)
    stack.enter_context(others)
    held_out = keep_evaluations(config, run, stack)
    keep = (held_out.add,) if held_out else ()
    episodes = config.run.eval_eps
    evaluator = Evaluator(others, run.policy, run.logger, episodes, keep, shutdown)
    return collector, evaluator, held_out


def _note_envs(config: Config, run: Run, envs: VectorEnv) -> None:
    named = f"{envs.num_envs} environment{'s' * (envs.num_envs > 1)}"
    origin = config.sources.get("run.env_backend", "")
    origin = f" It was set by {origin}." if origin and config.run.env_backend != "auto" else ""
    run.logger.note(f"{named}, backend {envs.backend}: {envs.choice}{origin}")


def ineffective(config: Config) -> list[str]:
    """Says which options of evaluation the user has set although there are no evaluations."""
    names = ["eval_every", "eval_eps"]
    if not config.run.final_eval_eps:
        names += ["eval_envs", "eval_max_steps"]
    keys = [f"run.{name}" for name in names]
    given = [key for key in keys if config.sources.get(key) in ("overrides", f"flag --{key}")]
    if not given:
        return []
    return [
        f"{' and '.join(given)}: without effect in script {config.script}, which evaluates only at "
        "the end, if run.final_eval_eps says so. Script train_eval evaluates during training."
    ]


def keep_evaluations(config: Config, run: Run, stack: contextlib.ExitStack) -> HeldOut | None:
    """Makes what keeps evaluation episodes for reports; None if there are none to be made."""
    if not run.learner or not experience.held_out_steps(config):
        return None
    spaces = {**run.obs_space, **run.act_space}
    held_out = HeldOut(config, spaces, run.learner.agent.latent_spaces, run.folder.root)
    return stack.enter_context(contextlib.closing(held_out))


def prepare(config: Config, run: Run, own: bool = False) -> None:
    """Starts to compile what the run will need, in the order in which it needs it.

    Args:
        config: Resolved configuration.
        run: What the run is made of.
        own: Whether steps come from a collector of the user, which acts for itself.
    """
    learner, policy = run.learner, run.policy
    if not learner or run.progress.steps >= config.run.steps:
        return
    if not own:
        policy.prepare(config.run.envs)
    run.logger.note(f"Model: {model_line(learner)}.")
    run.logger.note(f"Updates: {updates_line(config)}.")
    kept = "" if config.jax.cache_dir == "off" else ", and seconds where an earlier start did it"
    run.logger.note(f"Compiling: about 20 seconds on a CPU{kept}.")
    if _will_train(config, run):
        learner.prepare("train", run.batches.example())
    else:
        run.logger.note(
            f"This run will learn nothing: the first update needs {_first_batch(config, run):,} "
            f"steps in replay, and run.steps is {config.run.steps:,}."
        )
    if config.script == "train_eval":
        policy.prepare(min(config.run.eval_envs, config.run.eval_eps), "eval")


def model_line(learner: Learner) -> str:
    """The size of a model: how many numbers it learns, and bytes of the agent's state."""
    parameters = sum(x.size for x in jax.tree.leaves(learner.shapes.params))
    size = learner.nbytes / 1e6
    return f"{parameters:,} parameters, {size:,.1f} MB with optimizer and slow copies"


def updates_line(config: Config) -> str:
    """What the train ratio means for a run."""
    per_step = config.run.train_ratio / (config.batch_size * config.batch_length)
    return (
        f"{per_step:.3g} per environment step (train_ratio {config.run.train_ratio:g} / "
        f"{config.batch_size} sequences of {config.batch_length} steps), "
        f"{config.run.steps * per_step:,.0f} in all"
    )


def _will_train(config: Config, run: Run) -> bool:
    """Whether the steps that are left make enough of a replay for an update."""
    left = config.run.steps - run.progress.steps
    return left > 0 and len(run.replay) + left >= _first_batch(config, run)


def _first_batch(config: Config, run: Run) -> int:
    """Steps in replay from which updates are made, but for those at the ends of episodes."""
    return config.batch_size * run.replay.length
