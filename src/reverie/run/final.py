"""The end of a finished run: an evaluation, the learning curve and a last report."""

import pathlib

from reverie.config import Config
from reverie.run import build
from reverie.run.evaluate import Evaluator
from reverie.run.parts import Parts
from reverie.run.report import report
from reverie.run.result import Evaluation, write_json
from reverie.run.shutdown import Shutdown
from reverie.track import learning_curve


def finish(
    config: Config, source: build.EnvSource, parts: Parts, shutdown: Shutdown
) -> tuple[Evaluation | None, list[pathlib.Path]]:
    """Evaluates the newest parameters and draws what was learned.

    Args:
        config: Resolved configuration; `run.final_eval_eps` is the number of episodes.
        source: Where environments come from.
        parts: The finished run, whose environments are closed.
        shutdown: Ends it early.

    Returns:
        The evaluation, unless no episode ended in time, and the files that were written.

    Raises:
        Stopped: When a signal arrives.
    """
    files = []
    result = evaluate(config, source, parts, shutdown)
    if result:
        files.append(write_json(parts.folder.evaluation, result.to_json()))
    with shutdown.interruptible():
        files += draw(parts)
        parts.logger.write()
        parts.drawing.wait()
    root, step = parts.folder.root, parts.progress.steps
    files += sorted(root.glob(f"videos/report-*_{step:09d}.*"))
    files += sorted(root.glob("metrics.jsonl"))
    return result, files


def evaluate(
    config: Config, source: build.EnvSource, parts: Parts, shutdown: Shutdown
) -> Evaluation | None:
    """Plays the episodes of the evaluation, with a seed of its own."""
    episodes, done = config.run.final_eval_eps, parts.progress
    if shutdown.over:
        parts.logger.note(
            "The time of the run is up (run.duration), so there is no evaluation at its end: "
            f"reverie eval --logdir {parts.folder.root} plays one."
        )
        return None
    if parts.learner and not done.updates:
        parts.logger.note(
            "No update was made, so there is nothing to evaluate: the run was shorter than its "
            "first batch. A larger run.steps goes on from here."
        )
        return None
    parts.logger.note(f"Evaluating {episodes} episodes.")
    if parts.learner:
        parts.learner.flush_acting()
    count = min(config.run.eval_envs, episodes)
    with shutdown.interruptible():
        envs = build.vector_env(
            source,
            config.run,
            config.seed,
            "eval",
            count,
            cancelled=lambda: shutdown.requested is not None,
        )
    with envs:
        evaluator = Evaluator(envs, parts.actor, parts.logger, episodes, shutdown=shutdown)
        return evaluator.run(build.eval_seed(config.seed, done.evaluations - 1))


def draw(parts: Parts) -> list[pathlib.Path]:
    """The learning curve, if episodes were logged, and the open-loop plots; logs the videos."""
    root = parts.folder.root
    files = [learning_curve(root)] if (root / "scores.jsonl").exists() else []
    if parts.learner and len(parts.replay):
        draw = lambda job: files.extend(job())  # noqa: E731
        report(parts.learner, parts.previews, parts.logger, root, draw=draw)
    return files
