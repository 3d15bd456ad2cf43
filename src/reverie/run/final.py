"""The end of a finished run: an evaluation, the learning curve and a last report."""

import pathlib

from reverie.config.schema import Config
from reverie.run import build
from reverie.run.evaluator import Evaluator
from reverie.run.report import report
from reverie.run.result import Evaluation, write_json
from reverie.run.setup import Run
from reverie.run.shutdown import Shutdown
from reverie.track.curve import learning_curve


def finish(
    config: Config, source: build.EnvSource, run: Run, shutdown: Shutdown
) -> tuple[Evaluation | None, list[pathlib.Path]]:
    """Evaluates the newest parameters and draws what was learned.

    Args:
        config: Resolved configuration; `run.final_eval_eps` is the number of episodes.
        source: Where environments come from.
        run: The finished run, whose environments are closed.
        shutdown: Ends it early.

    Returns:
        The evaluation, unless no episode ended in time, and the files that were written.

    Raises:
        Stopped: When a signal arrives.
    """
    files = []
    result = evaluate(config, source, run, shutdown)
    if result:
        files.append(write_json(run.folder.evaluation, result.to_json()))
    with shutdown.interruptible():
        files += draw(run)
        run.logger.write()
        run.drawing.wait()
    root, step = run.folder.root, run.progress.steps
    files += sorted(root.glob(f"videos/report-*_{step:09d}.*"))
    files += sorted(root.glob("metrics.jsonl"))
    return result, files


def evaluate(
    config: Config, source: build.EnvSource, run: Run, shutdown: Shutdown
) -> Evaluation | None:
    """Plays the episodes of the evaluation, with a seed of its own."""
    episodes, done = config.run.final_eval_eps, run.progress
    if shutdown.over:
        run.logger.note(
            "The time of the run is up (run.duration), so there is no evaluation at its end: "
            f"reverie eval --logdir {run.folder.root} plays one."
        )
        return None
    if run.learner and not done.updates:
        run.logger.note(
            "No update was made, so there is nothing to evaluate: the run was shorter than its "
            "first batch. A larger run.steps goes on from here."
        )
        return None
    run.logger.note(f"Evaluating {episodes} episodes.")
    if run.learner:
        run.policy.set_params(run.learner.acting(newest=True))
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
        evaluator = Evaluator(envs, run.policy, run.logger, episodes, shutdown=shutdown)
        return evaluator.run(build.eval_seed(config.seed, done.evaluations - 1))


def draw(run: Run) -> list[pathlib.Path]:
    """The learning curve, if episodes were logged, and the open-loop plots; logs the videos."""
    root = run.folder.root
    files = [learning_curve(root)] if (root / "scores.jsonl").exists() else []
    if run.learner and len(run.replay):
        draw = lambda job: files.extend(job())  # noqa: E731
        report(run.learner, run.previews, run.logger, root, draw=draw)
    return files
