"""The end of a finished run: an evaluation, the learning curve and a last report."""

import pathlib

from reverie.config import Config
from reverie.run import build
from reverie.run.evaluate import Evaluator
from reverie.run.parts import Parts
from reverie.run.report import report
from reverie.run.result import Evaluation, write_json
from reverie.track import learning_curve


def finish(
    config: Config, source: build.EnvSource, parts: Parts
) -> tuple[Evaluation, list[pathlib.Path]]:
    """Evaluates the newest parameters and draws what was learned.

    Args:
        config: Resolved configuration; `run.final_eval_eps` is the number of episodes.
        source: Where environments come from.
        parts: The finished run.

    Returns:
        The evaluation, and the files that were written.
    """
    if parts.learner:
        parts.learner.flush_acting()
    episodes = config.run.final_eval_eps
    count = min(config.run.eval_envs, episodes)
    with build.vector_env(source, config.run, config.seed, "eval", count) as envs:
        result = Evaluator(envs, parts.actor, parts.logger, episodes).run()
    files = [write_json(parts.folder.evaluation, result.to_json())]
    files += draw(parts)
    parts.logger.write()
    root, step = parts.folder.root, parts.progress.steps
    files += sorted(root.glob(f"videos/report-*_{step:09d}.*"))
    files += sorted(root.glob("metrics.jsonl"))
    return result, files


def draw(parts: Parts) -> list[pathlib.Path]:
    """The learning curve, if episodes were logged, and the open-loop plots; logs the videos."""
    root = parts.folder.root
    files = [learning_curve(root)] if (root / "scores.jsonl").exists() else []
    if parts.learner and len(parts.replay):
        files += report(parts.learner, parts.previews, parts.logger, root)
    return files
