"""Evaluation of a trained agent."""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np

from reverie.config import Config, check_spaces, with_values
from reverie.config.load import load_saved, set_by
from reverie.learner import CheckpointError, Learner, checkpoint, transfer
from reverie.run import build, defaults, pretrained, progress
from reverie.run.evaluate import evaluate
from reverie.run.folder import RunFolder, open_run
from reverie.run.result import Outcome, write_json
from reverie.run.video import cut_films, write_film
from reverie.spaces import Space
from reverie.track.sinks import REMOTE


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
        learner, step = restore_learner(config, spaces.obs, spaces.act, elsewhere)
    except CheckpointError:
        if not elsewhere:
            # The spaces say more than the shapes of parameters, which may fit in spite of them.
            folder.check_spaces(spaces.native_obs, spaces.native_act, "evaluated")
        raise
    folder.create()
    count = min(config.run.eval_envs, config.run.eval_eps)
    with (
        build.vector_env(source, config.run, config.seed, "eval", count) as envs,
        build.logger(config.logger, folder.root, lambda: step) as logger,
    ):
        result, records = evaluate(learner, envs, config.run.eval_eps)
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
        learner.updates,
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


def restore_learner(
    config: Config,
    obs_space: Mapping[str, Space],
    act_space: Mapping[str, Space],
    elsewhere: str = "",
) -> tuple[Learner, int]:
    """The agent of the newest valid checkpoint in the run folder, ready to act.

    Args:
        config: Resolved configuration; its `run.from_checkpoint` plays no part.
        obs_space: What the policy sees.
        act_space: What it does.
        elsewhere: Folder of another checkpoint, also of the original implementation, to be taken
            in place of the run's.

    Returns:
        The agent, and the environment steps after which it was saved.

    Raises:
        CheckpointError: If there is none, or it is of an agent with other settings.
    """
    if config.random_agent:
        raise CheckpointError(
            "random_agent is true, and a random agent has no checkpoint to evaluate. Set it to "
            "false, or train with --random_agent true, which logs the scores."
        )
    check_spaces({**obs_space, **act_space}, config.agent)
    folder = pathlib.Path(config.logdir).expanduser()
    agent, placement = build.agent(config, obs_space, act_space)
    if elsewhere:
        start = pretrained.choose(config, agent, elsewhere)
        learner = build.learner(config, agent, placement, folder)
        learner.load_arrays(start.arrays)
        return learner, start.step
    saved = checkpoint.newest(folder, (transfer.PARAMS,))
    learner = build.learner(config, agent, placement, folder)
    progress.load_policy(learner, saved)
    return learner, saved.step
