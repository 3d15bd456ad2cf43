"""Evaluation of a trained agent."""

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from reverie.actors.evaluate import Evaluation
from reverie.config.load import load_saved, set_by
from reverie.config.schema import Config
from reverie.learner.checkpoints.checkpoint import CheckpointError
from reverie.learner.policy import Policy
from reverie.run.environments.film import film_episodes
from reverie.run.environments.source import EnvSpaces
from reverie.run.load import load_policy
from reverie.run.parts import build, defaults
from reverie.run.reports.recorded import Recorder
from reverie.run.saved.folder import RunFolder, open_run
from reverie.run.saved.result import Outcome, write_json
from reverie.track.sinks.registry import check_outputs

Records = list[dict[str, Any]]


def eval_only(
    config: Config,
    source: build.EnvSource | None = None,
    *,
    video: pathlib.Path | None = None,
    record: bool = True,
) -> Outcome:
    """Plays `run.eval_eps` episodes with a saved agent.

    Args:
        config: Resolved configuration. The agent is that of the run folder; where there is no run
            in it, the newest checkpoint in `run.from_checkpoint`.
        source: Where environments come from; the task of the configuration by default.
        video: Where to write a film of the episodes of the first environment.
        record: Whether to write `evaluation.json`, log the episodes and keep their steps.

    Raises:
        CheckpointError: If there is no valid checkpoint or it is of another agent.
        OutputError: If an output of the logger cannot be used.
    """
    if record:
        check_outputs(config.logger.outputs)
    source = (source or build.EnvSource(config.task, config.env)).resolved(config)
    source = dataclasses.replace(source, filmed=video is not None)
    folder = RunFolder(pathlib.Path(config.logdir).expanduser())
    spaces = source.spaces()
    config, policy, step = _load(config, folder, spaces)
    episodes, fps, notes = config.run.eval_eps, source.fps(config.logger.fps), []
    with build.vector_env(source, config.run, config.seed, episodes) as envs:
        keys = {**spaces.obs, **spaces.act}
        latents = policy.agent.latent_spaces
        recorder = Recorder(folder.evaluated, keys, latents, episodes, envs.num_envs)
        how = {"note": notes.append, "callbacks": [recorder] if record else []}
        result, records = film_episodes(policy, envs, episodes, video, fps, **how)
    files = []
    if record:
        try:
            files.append(_record(config, folder, step, result, records))
            recorder.save(notes.append)
        except OSError as error:  # As where the folder can only be read.
            notes.append(f"The evaluation is not written down: {error}")
    files += [result.video] if result.video else []
    return Outcome(
        folder.root,
        step,
        policy.version,
        evaluation=result,
        files=tuple(files),
        trained=False,
        notes=tuple(notes),
    )


def _load(config: Config, folder: RunFolder, spaces: EnvSpaces) -> tuple[Config, Policy, int]:
    """The configuration with the size of the saved agent, that agent, and the step of its save."""
    # What a run was once started from is not its agent.
    elsewhere = "" if folder.config.exists() else config.run.from_checkpoint
    config = defaults.keep_size(config, elsewhere or folder.root)
    try:
        device = build.placement(config).policy
        return config, *load_policy(config, spaces.obs, spaces.act, device, elsewhere)
    except CheckpointError:
        if not elsewhere:
            # The spaces say more than the shapes of parameters, which may fit in spite of them.
            folder.check_spaces(spaces.native_obs, spaces.native_act, "evaluated")
        raise


def _record(
    config: Config, folder: RunFolder, step: int, result: Evaluation, records: Records
) -> pathlib.Path:
    """Logs the episodes of an evaluation and writes its file."""
    folder.create()
    title = (config.task.removeprefix("gym_"), "evaluation")
    with build.logger(config.logger, folder.root, lambda: step, title=title) as logger:
        for record in records:
            logger.add({k: v for k, v in record.items() if np.ndim(v) == 0}, prefix="eval")
        logger.add(result.achievements, prefix="eval")
    return write_json(folder.evaluation, result.to_json())


def eval_run(
    logdir: str,
    words: Sequence[str] = (),
    *,
    video: bool | str = False,
    record: bool = True,
    trust: bool = False,
) -> Outcome:
    """Evaluates the run in a folder with its own configuration.

    Args:
        logdir: Run folder.
        words: Flags that replace options of the run.
        video: Whether to film the episodes, as `evaluation.mp4` in the run folder, or another file.
        record: Whether to write `evaluation.json`, log the episodes and keep their steps.
        trust: Whether the user trusts whoever made the folder, so that it may name code.
    """
    folder, _, saved = open_run(logdir, trust)
    saved.refuse(set_by(words))
    config = load_saved(saved, [*words, "--logdir", str(folder.root)])
    film = None
    if video is not False:
        film = folder.root / "evaluation" if video is True else pathlib.Path(video)
    return eval_only(config, video=film, record=record)
