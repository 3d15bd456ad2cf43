"""Loads a trained agent."""

import os
import pathlib
from collections.abc import Callable, Mapping
from typing import NamedTuple

from reverie.config.checks import check_spaces
from reverie.config.schema import Config
from reverie.envs.flat.converter import Converter
from reverie.learner.checkpoints.checkpoint import Checkpoint, CheckpointError
from reverie.learner.placement.devices import Device, choose
from reverie.learner.policy import Policy, params_of, read_params
from reverie.options import ForeignConfig
from reverie.run.parts import build
from reverie.run.saved import pretrained, space_file
from reverie.run.saved.folder import RunFolder, open_run
from reverie.run.trained import TrainedAgent
from reverie.spaces import Space


class OpenedRun(NamedTuple):
    """A run as far as it can be read without its agent.

    Attributes:
        folder: Where it lies.
        config: Of the run.
        converter: Translates between its environment and its agent, by the saved spaces.
        permitted: Raises ConfigError where its environment must not be made.
    """

    folder: RunFolder
    config: Config
    converter: Converter
    permitted: Callable[[], None]


def load_agent(
    logdir: str | os.PathLike[str], device: Device | str | None = None, trust: bool = False
) -> TrainedAgent:
    """Loads the newest valid checkpoint of a run.

    Acting takes numbers and shapes alone. What makes the environment of the run is looked at when
    `make_env` or `evaluate` asks for it.

    Args:
        logdir: Run folder.
        device: Where it acts, as `devices.choose` takes it.
        trust: Whether the user trusts whoever made it, so that it may name code.

    Raises:
        DeviceError: If there is no such device.
        ConfigError: If there is no run in the folder, or its networks are code that it names and
            the folder was made elsewhere.
        CheckpointError: If it has no valid checkpoint.
    """
    run = open_saved(logdir, trust)
    policy, step = load_policy(run.config, *run.converter.spaces, choose(device))
    return TrainedAgent(policy, run.config, run.converter, step, run.permitted)


def open_saved(logdir: str | os.PathLike[str], trust: bool = False) -> OpenedRun:
    """Opens the folder of a run whose agent is to be loaded.

    Raises:
        ConfigError: If there is no run in the folder, its files are damaged, or its networks are
            code that must not be imported because the folder was made elsewhere.
    """
    folder, config, saved = open_run(logdir, trust)
    # The environment is code too, but is not made here.
    saved.refuse(allowed=[key for key in saved.code if not key.startswith("agent.")])
    section = getattr(config.env, config.suite)
    # Other suites draw their images in the size of the option.
    size = section.size if isinstance(section, ForeignConfig) else ()
    converter = Converter(*space_file.read_spaces(folder.spaces), size, config.task)
    return OpenedRun(folder, config, converter, saved.refuse)


def load_policy(
    config: Config,
    obs_space: Mapping[str, Space],
    act_space: Mapping[str, Space],
    device: Device,
    elsewhere: str = "",
) -> tuple[Policy, int]:
    """What acts with the newest valid checkpoint in the run folder.

    Args:
        config: Resolved configuration; its `run.from_checkpoint` plays no part.
        obs_space: What the policy sees.
        act_space: What it does.
        device: Where it acts.
        elsewhere: Folder of another checkpoint, also of the original implementation, to be taken
            in place of the run's.

    Returns:
        The policy, and the environment steps after which it was saved.

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
    if not elsewhere:
        config = build.for_acting(config, obs_space, act_space)
    agent = build.agent(config, obs_space, act_space, device.platform)
    if elsewhere:
        start = pretrained.choose(config, agent, elsewhere)
        saved = Checkpoint(start.step, start.arrays, {}, pathlib.Path(elsewhere))
        params = params_of(saved, agent)
    else:
        params, saved = read_params(folder, agent, device)
    policy = Policy(
        agent,
        params,
        device=device,
        seed=config.seed,
        dump_folder=folder,
        fast_compile=config.jax.fast_compile,
    )
    policy.restore(saved.counters)
    return policy, saved.step
