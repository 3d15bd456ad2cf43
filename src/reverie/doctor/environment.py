"""Looks at an environment before a run: its mistakes, and can a model learn it by heart."""

import contextlib
import dataclasses
import tempfile
import time
from collections.abc import Iterator, Sequence

import jax

from reverie.actors.collector import complete
from reverie.config.load import load
from reverie.doctor import model
from reverie.doctor.line import Level, Line
from reverie.doctor.replayed import predict, read_sequences
from reverie.envs.check import check
from reverie.learner.learner import Learner
from reverie.run.parts.setup import set_up
from reverie.run.parts.shutdown import Shutdown
from reverie.run.parts.start import open_collector, prepare
from reverie.run.parts.state import Run

STEPS, UPDATES, SECONDS = 500, 1500, 80.0
"""Random steps; updates on them, and when these end at the latest."""

_LEVELS: dict[str, Level] = {"error": "sick", "warning": "warning", "note": "healthy"}

_MILDER: dict[Level, Level] = {"sick": "warning", "warning": "healthy"}

_OPTIONS = {
    "run.envs": 1,
    "run.env_max_restarts": 0,
    "agent.opt.lr": 1e-3,
    "agent.opt.warmup": 50,
    "jax.prealloc": False,
    "logger.outputs": ["jsonl"],
}


def examine_env(task: str, words: Sequence[str] = ()) -> list[Line]:
    """Looks at the environment of a task; nothing of it stays.

    Args:
        task: With its suite, or a gymnasium id.
        words: Options as on the command line, beside the preset `small`.

    Raises:
        ConfigError: If an option is unknown or invalid.
    """
    with tempfile.TemporaryDirectory() as folder:
        fixed = {**_OPTIONS, "run.steps": STEPS, "logdir": folder}
        config = load(["--configs", "small", "--task", task, *words], overrides=fixed)
        section = getattr(config.env, config.suite).model_dump()
        findings = check(config.task, section, agent=config.agent)
        lines = [Line("environment", _LEVELS[x.level], x.problem, x.mend) for x in findings]
        if any(line.level == "sick" for line in lines):
            return lines
        with contextlib.ExitStack() as stack:
            # Not entered: there is nothing to save, so that signals end the command at once.
            run = set_up(config, None, Shutdown(), stack)
            assert run.learner
            updates = _overfit(run, run.learner, stack)
            return lines + list(_learnt(run, run.learner, updates))


def _overfit(run: Run, learner: Learner, stack: contextlib.ExitStack) -> int:
    """Random steps, then updates on these alone; returns their number."""
    prepare(run)
    collector = open_collector(run, stack)
    collector.set_params(learner.acting())
    while run.steps < STEPS:
        rollout = complete(collector.collect(), run.latents)
        run.replay.add(rollout.steps, rollout.streams)
        run.progress.steps += rollout.size
    learner.wait("train", run.batches.example())
    end = time.monotonic() + SECONDS
    while learner.updates < UPDATES and time.monotonic() < end:
        sample = run.batches.next()
        out = learner.update(sample.batch)
        run.batches.postpone(sample.ids[:, run.config.replay_context :], out.latents)
    run.save_now()
    return learner.updates


def _learnt(run: Run, learner: Learner, updates: int) -> Iterator[Line]:
    batch = read_sequences(run.folder.replay, learner.agent)
    if batch is None:
        yield Line("overfit", "unknown", "the episodes are too short to tell")
        return
    yield Line("overfit", "healthy", f"{updates} updates on {STEPS} random steps")
    params = jax.tree.unflatten(
        jax.tree.structure(learner.shapes.params), learner.acting(newest=True).leaves
    )
    for line in model.lines(predict(learner.agent, params, batch)):
        if line.about in ("ends", "value of replay"):
            continue  # Random actions hardly ever meet an end, and nobody plans here.
        if line.about == "actions":
            # In so few steps an effect cannot be told from chance by as much as in a run.
            level = _MILDER.get(line.level, line.level)
            advice = line.advice if level == "warning" else ""
            line = dataclasses.replace(line, level=level, advice=advice)
        yield line
