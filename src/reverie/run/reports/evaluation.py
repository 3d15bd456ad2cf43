"""Evaluations of a run: while it trains, and at its end."""

import contextlib
import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from reverie.actors.evaluate import Callback, Evaluation
from reverie.envs.errors import MissingPackageError, WorkerError
from reverie.envs.vector.vector import VectorEnv
from reverie.replay.batches import Batches
from reverie.replay.replay import Replay
from reverie.run.environments.film import FilmingError, film_episodes
from reverie.run.parts import build, experience
from reverie.run.parts.start import open_envs
from reverie.run.parts.state import Run
from reverie.run.reports.recorded import Recorder
from reverie.run.reports.report import draw_or_note, report
from reverie.run.saved.result import write_json
from reverie.track.logger import Logger
from reverie.track.pictures.curve import learning_curve

Records = Sequence[Mapping[str, Any]]


@dataclasses.dataclass(frozen=True)
class Evaluations:
    """Evaluations while a run trains.

    Args:
        envs: Environments of theirs alone.
        kept: The newest steps of the evaluations, which training never sees; for reports.
        previews: Sequences of them.
    """

    envs: VectorEnv
    kept: Replay | None = None
    previews: Batches | None = None

    def play(self, run: Run) -> None:
        """Plays `run.eval_eps` other episodes than the evaluation before."""
        if run.learner:  # Steps may come from something else than the policy.
            run.policy.set_params(run.learner.acting())
        seed = build.eval_seed(run.config.seed, run.progress.evaluations)
        run.progress.evaluations += 1
        keep = []
        if (kept := self.kept) is not None:
            keep = [lambda rollout: kept.add(rollout.steps, rollout.streams)]
        play(run, self.envs, run.config.run.eval_eps, seed, keep)

    def report(self, run: Run) -> None:
        """Logs a report on the episodes as `eval/report/...` when there are steps for a batch."""
        if self.kept is None or self.previews is None or run.learner is None:
            return
        if self.kept.ready(run.share.batch_size):
            to = (run.logger, run.folder.root / "eval", run.config.run.report_batches)
            report(run.learner, self.previews, *to, prefix="eval/report", step=run.steps)
            run.logger.add(self.kept.stats(), prefix="eval/replay")


def open_evaluations(run: Run, stack: contextlib.ExitStack) -> Evaluations | None:
    """What evaluations need; None if there are none while the run trains."""
    config = run.config
    if not run.together.hosts.first:
        return None
    if config.script != "train_eval":
        if config.script != "parallel" or not config.ray.eval_actors:
            _note_ineffective(run)
        return None
    envs = stack.enter_context(open_envs(run, config.run.eval_eps))
    if not experience.held_out_steps(config):
        return Evaluations(envs)
    kept = experience.eval_replay(config, run.spaces, run.latents)
    stack.enter_context(contextlib.closing(kept))
    previews = stack.enter_context(experience.batches(run.share, kept, report=True))
    return Evaluations(envs, kept, previews)


def _note_ineffective(run: Run) -> None:
    """Says which options of evaluation the user has set although there are no evaluations."""
    config, names = run.config, ["eval_every", "eval_eps"]
    if not config.run.final_eval_eps:
        names += ["eval_envs", "eval_max_steps"]
    keys = [f"run.{name}" for name in names]
    given = [key for key in keys if config.sources.get(key) in ("overrides", f"flag --{key}")]
    if given:
        run.logger.note(
            f"{' and '.join(given)}: without effect in script {config.script}, which evaluates "
            "only at the end, if run.final_eval_eps says so. Script train_eval evaluates during "
            "training, and script parallel where ray.eval_actors is 1 or more."
        )


def play(
    run: Run,
    envs: VectorEnv,
    episodes: int,
    seed: int,
    callbacks: Sequence[Callback] = (),
    film: tuple[pathlib.Path | None, float] = (None, 0.0),
) -> Evaluation | None:
    """Plays episodes, logs them under `eval/`, and keeps their steps in the run folder.

    Args:
        run: Whose agent plays; its end ends this early.
        envs, episodes, callbacks: As for `evaluate`.
        seed: Decides which ones, as far as the environments follow their seeds.
        film: Where to film them, and frames per second, as for `film_episodes`.

    Returns:
        Those that ended before the run had to; None if there are none.

    Raises:
        Stopped: When a signal arrives.
    """
    logger, shutdown, recorder = run.logger, run.shutdown, None
    if run.learner:
        size = episodes, envs.num_envs
        recorder = Recorder(run.folder.evaluated, run.spaces, run.latents, *size)
        callbacks = [*callbacks, recorder]
    with shutdown.interruptible():
        how = {"seed": seed, "over": shutdown.late, "note": logger.note}
        how["callbacks"] = callbacks
        result, records = film_episodes(run.policy, envs, episodes, *film, **how)
    if recorder:
        recorder.save(logger.note)
    log(logger, result, records, envs.restarts)
    if len(records) < episodes:
        logger.note(
            f"The time of the run was up after {len(records)} of {episodes} episodes of an "
            "evaluation."
        )
    return result if records else None


def log(logger: Logger, result: Evaluation, records: Records, restarts: int) -> None:
    """Logs the episodes of an evaluation, and how often its environments were restarted so far."""
    for record in records:
        logger.add(record, prefix="eval")
    logger.add(result.achievements, prefix="eval")
    logger.add({"eval/env/restarts": restarts})


def finish(run: Run) -> tuple[Evaluation | None, list[pathlib.Path]]:
    """Evaluates a finished run, whose environments are closed, and draws what was learned.

    Returns:
        The evaluation, unless no episode ended in time, and the files that were written.

    Raises:
        Stopped: When a signal arrives.
    """
    root, files = run.folder.root, []
    result = _evaluate_end(run)
    if result:
        files.append(write_json(run.folder.evaluation, result.to_json()))
        files += [result.video] if result.video else []
    with run.shutdown.interruptible():
        if (root / "scores.jsonl").exists():
            title = run.config.task
            files += draw_or_note(run.logger, lambda: [learning_curve(root, title=title)])
        if run.learner and len(run.replay):
            files += report(run.learner, run.previews, run.logger, root, step=run.steps)
        run.logger.write()
    files += sorted(root.glob(f"videos/report-*_{run.steps:09d}.*"))
    files += sorted(root.glob("metrics.jsonl"))
    return result, files


def _evaluate_end(run: Run) -> Evaluation | None:
    """Plays the episodes of the evaluation at the end, with a seed of its own."""
    episodes, shutdown = run.config.run.final_eval_eps, run.shutdown
    if shutdown.over:
        run.logger.note(
            "The time of the run is up (run.duration), so there is no evaluation at its end: "
            f"reverie eval --logdir {run.folder.root} plays one."
        )
        return None
    if run.learner and not run.updates:
        run.logger.note(
            "No update was made, so there is nothing to evaluate: the run was shorter than its "
            "first batch. A larger run.steps goes on from here."
        )
        return None
    run.logger.note(f"Evaluating {episodes} episode{'s' * (episodes > 1)}.")
    if run.learner:
        run.policy.set_params(run.learner.acting(newest=True))
    with shutdown.interruptible():
        envs, film = _open_end(run, episodes)
    with envs:
        # Counted before the last save.
        seed = build.eval_seed(run.config.seed, run.progress.evaluations - 1)
        fps = run.source.fps(run.config.logger.fps)
        return play(run, envs, episodes, seed, film=(film, fps))


def _open_end(run: Run, episodes: int) -> tuple[VectorEnv, pathlib.Path | None]:
    """The environments of the evaluation at the end, and where they are filmed if they can be."""
    if run.config.run.final_eval_video:
        try:
            return open_envs(run, episodes, filmed=True), run.folder.root / "evaluation"
        except (MissingPackageError, FilmingError, WorkerError) as error:
            run.logger.note(f"The evaluation is not filmed: {error}")
    return open_envs(run, episodes), None
