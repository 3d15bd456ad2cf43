"""Looks at everything there is of a run."""

import dataclasses
import os
from collections.abc import Iterator

import jax

from reverie.agent.agent import Agent
from reverie.config.schema import Config
from reverie.doctor import model, records, replayed
from reverie.doctor.line import Line
from reverie.learner.checkpoints.checkpoint import Checkpointer
from reverie.learner.compilation.programs import state_shapes
from reverie.learner.placement.devices import choose
from reverie.learner.policy import read_params
from reverie.run.load import open_saved
from reverie.run.parts import build
from reverie.run.saved.folder import RunFolder


def examine_run(logdir: str | os.PathLike[str], trust: bool = False) -> list[Line]:
    """Looks at a run, finished or not; its folder is only read.

    Args:
        logdir: Run folder.
        trust: Whether the user trusts whoever made it, so that it may name code.

    Raises:
        ConfigError: If there is no run in the folder, or its networks are code that it names and
            the folder was made elsewhere.
        CheckpointError: If there are checkpoints and none is valid.
    """
    folder, config, converter, _ = open_saved(logdir, trust)
    obs, act = converter.spaces
    found = records.read_records(folder.root, config, act)
    lines = list(records.lines(found))
    if config.random_agent:
        return [*lines, Line("model", "unknown", "a random agent learns nothing")]
    config = build.for_acting(config, obs, act)
    agent = build.agent(config, obs, act, choose(None).platform)
    early = found.updates < records.SETTLED
    with jax.debug_nans(False):  # As in reports, what is unknown is NaN.
        return lines + [_unless(early, line) for line in _of_checkpoint(folder, config, agent)]


def _of_checkpoint(folder: RunFolder, config: Config, agent: Agent) -> Iterator[Line]:
    if not Checkpointer(folder.checkpoints).steps():
        yield Line("checkpoint", "unknown", "none was saved yet: the lines below it are missing")
        return
    params, saved = read_params(folder.root, agent, choose(None))
    batch = replayed.read_sequences(folder.replay, agent)
    if batch is None:
        few = "too small" if folder.replay.exists() else "not in its folder, and needed"
        yield Line("checkpoint", "unknown", f"the saved replay is {few} to tell more")
        return
    nets = jax.tree.unflatten(jax.tree.structure(state_shapes(agent).params), params.leaves)
    size, length = batch["reward"].shape
    yield Line(
        "checkpoint",
        "healthy",
        f"of step {saved.step:,}, on {size} sequences of {length} of the newest steps in replay",
    )
    scaled = config.agent.valnorm.impl != "none"
    for line in model.lines(replayed.predict(agent, nets, batch)):
        if not (scaled and line.about == "value of replay"):
            yield line


def _unless(early: bool, line: Line) -> Line:
    """The line; before the model can have learnt, it is no judgement."""
    if not early or line.about in ("checkpoint", "episode ends"):
        return line
    says = line.says
    if line.level != "unknown":
        says += f" (judged from {records.SETTLED} updates after the warm-up on)"
    return dataclasses.replace(line, level="unknown", says=says, advice="")
