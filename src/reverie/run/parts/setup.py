"""From a configuration to a run: its parts made, checked, wired and restored."""

import contextlib
import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Any

import jax

from reverie.actors.random_policy import RandomPolicy
from reverie.agent.agent import Agent
from reverie.config.checks import check_spaces
from reverie.config.load import STAMP
from reverie.config.saved_runs import foreign
from reverie.config.saved_runs.resume import check_resume, inherit
from reverie.config.schema import Config, with_values
from reverie.config.syntax.keys import flatten, groups
from reverie.learner.compilation.compiler import Compiler
from reverie.learner.learner import Learner
from reverie.learner.placement.devices import Placement
from reverie.learner.policy import Policy
from reverie.replay.files.format import check_codec
from reverie.run.environments.source import EnvSource, EnvSpaces
from reverie.run.parts import build, defaults, experience, together
from reverie.run.parts.ratio import Ratio
from reverie.run.parts.shutdown import Shutdown
from reverie.run.parts.state import Run, restore
from reverie.run.saved import pretrained
from reverie.run.saved.folder import RunFolder
from reverie.run.saved.saver import Saver
from reverie.run.saved.space_file import write_spaces
from reverie.track.runs.status import model_name
from reverie.track.sinks.base import Sink
from reverie.track.sinks.format import format_number
from reverie.track.sinks.jsonl import go_back
from reverie.track.sinks.registry import check_outputs


def set_up(
    config: Config,
    source: EnvSource | None,
    shutdown: Shutdown,
    stack: contextlib.ExitStack,
    sinks: Sequence[Sink] = (),
) -> Run:
    """Makes what a run is made of, which the stack closes, and restores what the run folder holds.

    Raises:
        ConfigError: If the configuration does not fit the environment or the run in the folder.
        CheckpointError: If no checkpoint can be read.
        BudgetError: If replay cannot fit into memory or on the disk.
        DeviceError: If a device that the configuration asks for does not exist.
        FolderInUseError: If another process trains in the run folder.
        MissingCodecError: If the package that compresses replay is not installed.
        OutputError: If an output of the logger cannot be used.
    """
    hosts = stack.enter_context(build.hosts(config))
    together.same(config, hosts)
    source = (source or EnvSource(config.task, config.env)).resolved(config)
    folder = RunFolder(pathlib.Path(config.logdir).expanduser().absolute(), hosts.index)
    fresh = STAMP in config.sources.get("logdir", "")
    if fresh:
        folder = folder.unused()
    folder = together.located(folder, hosts)
    folder.check()
    config, notes = _resumed(config.model_copy(update={"env": source.config}), folder)
    if config.replay.compress != "none":
        check_codec(f"--replay.compress {config.replay.compress}", config.replay.compress)
    check_outputs(config.logger.outputs)
    spaces = source.spaces()
    keys = {**spaces.obs, **spaces.act}
    folder.check_spaces(spaces.native_obs, spaces.native_act)
    notes += spaces.notes
    agent = placement = start = None
    if not config.random_agent:
        check_spaces(keys, config.agent)
        placement = build.placement(config, hosts)
        config, chosen = defaults.choose_size(config, placement, spaces.obs)
        notes += chosen
        agent = build.agent(config, spaces.obs, spaces.act, placement.platform)
        config = with_values(config, {"jax.compute_dtype": agent.dtype.name}, "the device")
        if config.run.from_checkpoint and not folder.saved():
            start = pretrained.choose(
                config, agent, config.run.from_checkpoint, config.run.from_checkpoint_regex
            )
    latents = agent.latent_spaces if agent else {}
    part = together.share(config, hosts)
    budget = experience.budget(part, keys, latents, folder.replay, **together.shares(hosts))
    part, fitted = defaults.fit_replay(part, budget)
    config, part = together.fit(config, part, hosts)
    # Mistakes that were found before leave no folder, and those found later leave it as it was.
    folder = together.create(folder, hosts, fresh)
    config, part = (x.model_copy(update={"logdir": str(folder.root)}) for x in (config, part))
    budget = dataclasses.replace(budget, folder=folder.replay)
    stack.enter_context(folder.locked())
    learner, policy = None, RandomPolicy(spaces.act, config.seed, spaces.obs)
    if agent and placement:
        learner, policy = _agent(config, part.seed, agent, placement, folder, stack)
        notes += [placement.note] if placement.note else []
    replay = experience.replay(part, keys, latents, budget)
    stack.enter_context(contextlib.closing(replay))
    notes += [*fitted, budget.problem or str(budget)]
    if hosts.count > 1:
        notes.append(f"Each of the {hosts.count} processes counts its part of what is free.")
    batches = stack.enter_context(experience.batches(part, replay))
    ratio = Ratio(config.run.train_ratio, config.batch_size * config.batch_length)
    made = folder, keys, learner, policy, replay, batches, ratio
    run = Run(config, source, shutdown, *made, part, together.Together(hosts, shutdown))
    restored = restore(run)
    if start and learner and not restored:
        learner.load(start.arrays)
        restored = start.notes
    # Only now is it certain that the run can begin, if the others have come here too, and what
    # they have chosen by themselves, such as the size of the model, is the same.
    together.same(config, hosts)
    _begin(run, spaces, [*notes, *restored], stack, sinks)
    return run


def _resumed(config: Config, folder: RunFolder) -> tuple[Config, list[str]]:
    """The configuration with what the run in the folder has decided, and what is another there."""
    saved = folder.saved()
    config = defaults.keep(config, saved)
    if config.run.from_checkpoint:
        config = defaults.keep_size(config, config.run.from_checkpoint)
    if saved is None:
        lost = (
            f"There is no {folder.config}, so the options of this run were not compared with those "
            "that it was started with. If it is not to go on with them, stop it now."
        )
        return config, [lost] * folder.reached
    config = inherit(saved, config)
    # Older runs have not saved what `auto` was. What it decided is compared with replay later.
    changes = check_resume(inherit(config, saved), config, str(folder.root))
    changes = [change for change in changes if not foreign.of_machine(change.key)]
    notes = [f"Resuming with another value of {change}." for change in changes]
    if config.run.from_checkpoint not in ("", saved.run.from_checkpoint):
        notes.append(
            f"run.from_checkpoint has no effect: the run in {folder.root} goes on with its own "
            "parameters. A new logdir begins with those of another one."
        )
    return config, notes


def _agent(
    config: Config,
    seed: int,
    agent: Agent,
    placement: Placement,
    folder: RunFolder,
    stack: contextlib.ExitStack,
) -> tuple[Learner, Policy]:
    """What updates an agent, and what acts with its parameters, with a seed of this process."""
    shared: dict[str, Any] = {
        "dump_folder": folder.own,
        "fast_compile": config.jax.fast_compile,
        "compiler": stack.enter_context(contextlib.closing(Compiler())),
    }
    learner = Learner(agent, placement=placement, seed=config.seed, **shared)
    return learner, Policy(agent, device=placement.policy, seed=seed, **shared)


def _begin(
    run: Run,
    spaces: EnvSpaces,
    notes: Sequence[str],
    stack: contextlib.ExitStack,
    sinks: Sequence[Sink],
) -> None:
    """Writes what a run folder holds from the beginning, and opens what is written later."""
    config, folder, done = run.config, run.folder, run.progress
    aside = folder.set_aside() if done.saved < 0 else []
    outputs = config.logger
    if run.together.hosts.first:
        aside += _write(run, spaces)
    else:  # The first process writes what there is once.
        outputs, sinks = config.logger.model_copy(update={"outputs": ()}), ()
    logger = build.logger(
        outputs,
        folder.root,
        lambda: done.steps,
        sinks,
        total_steps=config.run.steps,
        duration=max(0.0, config.run.duration - done.elapsed),
        options=config.model_dump(),
        first_step=done.steps,
        title=_title(run),
        elapsed=done.elapsed,
        episodes=done.episodes,
        repeat=config.repeat,
        stopping=lambda: run.shutdown.message,
    )
    run.logger = stack.enter_context(logger)
    run.shutdown.shown = lambda: logger.drawn
    for note in (*notes, *aside, f"Run folder: {folder.root}"):
        run.logger.note(note)
    run.previews = stack.enter_context(experience.batches(run.share, run.replay, report=True))
    state = run.learner.nbytes if run.learner else 0
    reserve = experience.unsaved_bytes(run.share, run.replay) + state
    saver = Saver(folder, run.logger.note, reserve)
    run.saver = stack.enter_context(contextlib.closing(saver))


def _write(run: Run, spaces: EnvSpaces) -> list[str]:
    """What a run folder holds once; returns what to tell the user."""
    folder = run.folder
    write_spaces(folder.spaces, spaces.native_obs, spaces.native_act)
    run.config.to_yaml(folder.config)
    signed = foreign.sign(folder.root)
    go_back(folder.root, run.steps)
    if signed:
        return []
    return [
        "There is no place for a key of yours (XDG_STATE_HOME), so that this run needs --trust to "
        "be resumed or evaluated: its options name code."
    ]


def _title(run: Run) -> tuple[str, ...]:
    """What is trained, in a few words each."""
    task = run.config.task.removeprefix("gym_")
    if not run.learner:
        return task, "random actions"
    count = sum(x.size for x in jax.tree.leaves(run.learner.shapes.params))
    model = model_name(dict(flatten(run.config.model_dump(), groups(Config))))
    return task, f"{model}, {format_number(count)} parameters", run.platform
