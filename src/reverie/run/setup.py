"""What a training run is made of, wired together and restored from the run folder."""

import contextlib
import dataclasses
import pathlib
from collections.abc import Mapping, Sequence

from reverie.actors.random_policy import RandomPolicy
from reverie.config import foreign
from reverie.config.checks import check_spaces
from reverie.config.load import STAMP
from reverie.config.schema import Config, with_values
from reverie.learner.compiler import Compiler
from reverie.learner.learner import Learner
from reverie.learner.policy import Policy
from reverie.replay.batches import Batches
from reverie.replay.replay import Replay
from reverie.run import build, defaults, experience, pretrained
from reverie.run.folder import RunFolder
from reverie.run.lock import FolderLock
from reverie.run.progress import Progress, Reached
from reverie.run.ratio import Ratio
from reverie.run.saver import Saver
from reverie.run.space_file import write_spaces
from reverie.spaces import Space
from reverie.track.drawing import Drawing
from reverie.track.logger import Logger
from reverie.track.sinks.base import Sink
from reverie.track.sinks.jsonl import go_back
from reverie.track.sinks.registry import check_outputs


@dataclasses.dataclass(frozen=True)
class Run:
    """What a run is made of, besides its environments.

    Attributes:
        folder: Run folder.
        learner: Updates the agent; None when actions are random.
        policy: Chooses the actions; acts with the parameters that it was given last.
        replay: Stores the transitions.
        batches: Sequences for updates.
        previews: Sequences for reports; drawing them changes nothing in training.
        logger: Receives metrics and messages.
        drawing: Draws pictures beside the run.
        progress: Counts of the run.
        ratio: Decides how many updates are due.
        reached: What is saved of them.
        saver: Writes checkpoints in the background.
        obs_space: What the policy sees.
        act_space: What it does.
    """

    folder: RunFolder
    learner: Learner | None
    policy: Policy | RandomPolicy
    replay: Replay
    batches: Batches
    previews: Batches
    logger: Logger
    drawing: Drawing
    progress: Progress
    ratio: Ratio
    reached: Reached
    saver: Saver
    obs_space: Mapping[str, Space]
    act_space: Mapping[str, Space]

    @property
    def steps(self) -> int:
        """Environment steps, summed over environments and processes of the run."""
        return self.progress.steps

    @property
    def updates(self) -> int:
        """Gradient steps."""
        return self.progress.updates

    def save(self) -> None:
        """Starts to write replay and a checkpoint, if there are steps that the newest ones lack.

        Raises:
            Exception: What the save before has raised.
        """
        if self.progress.steps in (0, self.progress.saved):
            return
        self.saver.wait()
        write = self.reached.snapshot()
        self.saver.start(write, f"Saved at {self.progress.steps:,} environment steps.")

    def save_now(self) -> None:
        """As `save`, and returns when everything is durable."""
        self.save()
        self.saver.wait()


def set_up(
    config: Config,
    source: build.EnvSource,
    stack: contextlib.ExitStack,
    sinks: Sequence[Sink] = (),
) -> Run:
    """Makes what a run is made of, and restores what the run folder holds.

    Args:
        config: Resolved configuration.
        source: Where environments come from.
        stack: Closes it.
        sinks: Outputs of metrics besides those of the configuration.

    Raises:
        ConfigError: If the configuration does not fit the environment or the run in the folder.
        CheckpointError: If no checkpoint can be read.
        BudgetError: If replay cannot fit into memory or on the disk.
        DeviceError: If a device that the configuration asks for does not exist.
        FolderInUseError: If another process trains in the run folder.
        MissingCodecError: If the package that compresses replay is not installed.
        OutputError: If an output of the logger cannot be used.
    """
    folder = RunFolder(pathlib.Path(config.logdir).expanduser().absolute())
    fresh = STAMP in config.sources.get("logdir", "")
    if fresh:
        folder = folder.unused()
    folder.check()
    config = config.model_copy(update={"env": source.config})
    config = defaults.keep(config, folder.saved())
    if config.run.from_checkpoint:
        config = defaults.keep_size(config, config.run.from_checkpoint)
    config, changes = folder.resumed(config)
    changes = [change for change in changes if not foreign.of_machine(change.key)]
    notes = [f"Resuming with another value of {change}." for change in changes]
    experience.check(config.replay)
    check_outputs(config.logger.outputs)
    spaces = source.spaces()
    folder.check_spaces(spaces.native_obs, spaces.native_act)
    notes += spaces.notes
    agent = placement = None
    latents: Mapping[str, Space] = {}
    if not config.random_agent:
        check_spaces({**spaces.obs, **spaces.act}, config.agent)
        placement = build.placement(config)
        config, chosen = defaults.choose_size(config, placement, spaces.obs)
        notes += chosen
        agent = build.agent(config, spaces.obs, spaces.act, placement.platform)
        latents = agent.latent_spaces
        config = with_values(config, {"jax.compute_dtype": agent.dtype.name}, "the device")
    keys = {**spaces.obs, **spaces.act}
    budget = experience.budget(config, keys, latents, folder.replay)
    start = None
    if agent and config.run.from_checkpoint and not folder.saved():
        start = pretrained.choose(
            config, agent, config.run.from_checkpoint, config.run.from_checkpoint_regex
        )
    config, fitted = defaults.fit_replay(config, budget)
    # Mistakes that were found before leave no folder, and those found later leave it as it was.
    folder = folder.create(fresh)
    config = config.model_copy(update={"logdir": str(folder.root)})
    budget = dataclasses.replace(budget, folder=folder.replay)
    lock = stack.enter_context(FolderLock(folder.root))
    learner = None
    policy: Policy | RandomPolicy = RandomPolicy(spaces.act, config.seed, spaces.obs)
    if agent and placement:
        compiler = Compiler()
        stack.callback(compiler.close)
        learner = build.learner(config, agent, placement, folder.root, compiler)
        policy = build.policy(config, agent, placement.policy, folder.root, compiler=compiler)
        notes += [placement.note] if placement.note else []
    replay = experience.replay(config, keys, latents, budget)
    stack.enter_context(contextlib.closing(replay))
    notes += [*fitted, budget.problem or str(budget)]
    done = Progress()
    ratio = Ratio(config.run.train_ratio, config.batch_size * config.batch_length)
    batches = stack.enter_context(experience.train_batches(config, replay))
    reached = Reached(folder, done, learner, policy, replay, batches, ratio)
    restored = reached.restore()
    if start and learner and not restored:
        learner.load(start.arrays)
        restored = list(start.notes)
    # Only now is it certain that the run can begin.
    if done.saved < 0:
        notes += folder.set_aside()
    lock.sign()
    write_spaces(folder.spaces, spaces.native_obs, spaces.native_act)
    config.to_yaml(folder.config)
    if not foreign.sign(folder.root):
        notes.append(
            "There is no place for a key of yours (XDG_STATE_HOME), so that this run needs --trust "
            "to be resumed or evaluated: its options name code."
        )
    go_back(folder.root, done.steps)
    left = max(0.0, config.run.duration - done.elapsed)
    drawing = Drawing(lambda text: logger.note(text))
    logger = stack.enter_context(
        build.logger(
            config.logger,
            folder.root,
            lambda: done.steps,
            config.run.steps,
            left,
            options=config.model_dump(),
            first_step=done.steps,
            draw=drawing,
            sinks=sinks,
        )
    )
    for note in (*notes, *restored, f"Run folder: {folder.root}"):
        logger.note(note)
    previews = stack.enter_context(experience.report_batches(config, replay))
    reserve = experience.unsaved_bytes(config, replay) + (learner.nbytes if learner else 0)
    saver = stack.enter_context(contextlib.closing(Saver(folder.root, logger.note, reserve)))
    return Run(
        folder=folder,
        learner=learner,
        policy=policy,
        replay=replay,
        batches=batches,
        previews=previews,
        logger=logger,
        drawing=drawing,
        progress=done,
        ratio=ratio,
        reached=reached,
        saver=saver,
        obs_space=spaces.obs,
        act_space=spaces.act,
    )
