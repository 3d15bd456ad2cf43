"""Evaluation of a trained agent."""

import dataclasses
import pathlib
from collections.abc import Sequence

import numpy as np

from reverie.actors.evaluate import evaluate
from reverie.config.load import load_saved, set_by
from reverie.config.schema import Config, with_values
from reverie.learner.checkpoint import CheckpointError
from reverie.run import build, defaults
from reverie.run.film import cut_films, write_film
from reverie.run.folder import RunFolder, open_run
from reverie.run.load import load_policy
from reverie.run.result import Outcome, write_json
from reverie.track.sinks.registry import REMOTE


def eval_only(
    config: Config, source: build.EnvSource | None = None, *, video: bool = False
) -> Outcome:
    """Plays `run.eval_eps` episodes with a saved agent and writes `evaluation.json`.

    Args:
        config: Resolved configuration. The agent is that of the run folder; where there is no run
            in it, the newest checkpoint in `run.from_checkpoint`.
        source: Where environments come from; the task of the configuration by default.
        video: Whether to write a video of the episodes of the first environment.

    Raises:
        CheckpointError: If there is no valid checkpoint or it is of another agent.
    """
    source = (source or build.EnvSource(config.task, config.env)).resolved(config)
    source = dataclasses.replace(source, filmed=video)
    folder = RunFolder(pathlib.Path(config.logdir).expanduser())
    spaces = source.spaces()
    # What a run was once started from is not its agent.
    elsewhere = "" if folder.config.exists() else config.run.from_checkpoint
    config = defaults.keep_size(config, elsewhere or folder.root)
    try:
        device = build.placement(config).policy
        policy, step = load_policy(config, spaces.obs, spaces.act, device, elsewhere)
    except CheckpointError:
        if not elsewhere:
            # The spaces say more than the shapes of parameters, which may fit in spite of them.
            folder.check_spaces(spaces.native_obs, spaces.native_act, "evaluated")
        raise
    folder.create()
    episodes = config.run.eval_eps
    with (
        build.vector_env(source, config.run, config.seed, episodes) as envs,
        build.logger(config.logger, folder.root, lambda: step) as logger,
    ):
        result, records = evaluate(policy, envs, episodes)
        for record in records:
            logger.add({k: v for k, v in record.items() if np.ndim(v) == 0}, prefix="eval")
        logger.add(result.achievements, prefix="eval")
    files = [write_json(folder.evaluation, result.to_json())]
    notes = ()
    if video:
        notes = cut_films(records)
        files.append(write_film(folder.root / "evaluation", records, config.logger.fps))
    return Outcome(
        folder.root,
        step,
        policy.version,
        evaluation=result,
        files=tuple(files),
        trained=False,
        notes=notes,
    )


def eval_run(
    logdir: str, words: Sequence[str] = (), *, video: bool = False, trust: bool = False
) -> Outcome:
    """Evaluates the run in a folder with its own configuration.

    Outputs of the run for the viewers of others get the evaluation only if the flags name them:
    their packages, or the right to write there, may be missing where a run is evaluated.

    Args:
        logdir: Run folder.
        words: Flags that replace options of the run.
        video: Whether to write a video.
        trust: Whether the user trusts whoever made the folder, so that it may name code.
    """
    folder, _, saved = open_run(logdir, trust)
    saved.refuse(set_by(words))
    config = load_saved(saved, [*words, "--logdir", str(folder.root)])
    if not config.sources.get("logger.outputs", "").startswith("flag"):
        outputs = [name for name in config.logger.outputs if name not in REMOTE]
        config = with_values(config, {"logger.outputs": outputs}, "evaluation")
    return eval_only(config, video=video)
