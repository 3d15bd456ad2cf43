"""Builds replay, what draws from it, and the streams of batches, from a configuration."""

import functools
import pathlib
from collections.abc import Mapping

from reverie.config import Config, ReplayConfig
from reverie.replay import (
    BudgetError,
    DiskStorage,
    Mixture,
    Prioritized,
    RamStorage,
    Recency,
    Replay,
    Selector,
    Stream,
    Uniform,
    estimate_budget,
)
from reverie.spaces import Space


def replay(
    config: Config,
    spaces: Mapping[str, Space],
    latents: Mapping[str, Space],
    folder: pathlib.Path,
) -> Replay:
    """Experience replay.

    Args:
        config: Capacity, and the sequence length that training needs.
        spaces: Observation and action keys.
        latents: Latents of the agent; none for a random one.
        folder: Where it is saved.
    """
    storage = RamStorage
    if config.replay.storage == "disk":
        ram = int(config.replay.ram_gb * 1e9)
        storage = functools.partial(DiskStorage, folder=folder, ram=ram)
    return Replay(
        {**spaces, **latents},
        length=config.consec_train * config.batch_length + config.replay_context,
        capacity=config.replay.size,
        chunksize=config.replay.chunksize,
        context=config.replay_context,
        latents=tuple(latents),
        online=config.replay.online,
        selector=selector(config.replay, config.replay_context),
        storage=storage,
        seed=config.seed,
    )


def selector(config: ReplayConfig, context: int) -> Selector:
    """What draws the sequences: one selector, or a mixture of those with a share.

    Args:
        config: Shares and options of the selectors.
        context: Steps in front of a sequence that are not trained.
    """
    fracs, prio = config.fracs, config.prio.model_dump()
    # What an environment says about a step is said once: there is no update to wait for.
    prio["zero_on_sample"] &= config.priosignal == "model"
    made: dict[str, tuple[Selector, float]] = {}
    if fracs.uniform:
        made["uniform"] = Uniform(), fracs.uniform
    if fracs.priority:
        made["priority"] = Prioritized(**prio, context=context), fracs.priority
    if fracs.recency:
        made["recency"] = Recency(config.recexp), fracs.recency
    return next(iter(made.values()))[0] if len(made) == 1 else Mixture(made)


def replay_budget(config: Config, source: Replay, folder: pathlib.Path) -> str:
    """What replay will need at its largest, for the user.

    Args:
        config: Capacity, and the steps of the run, of which there may be fewer.
        source: The replay.
        folder: Where it is saved.

    Raises:
        BudgetError: If it cannot fit; not if the run is limited to a time in which nobody knows how
            far it will get.
    """
    steps = min(config.replay.size, config.run.steps)
    ram = config.replay.ram_gb * 1e9 if config.replay.storage == "disk" else None
    needed = estimate_budget(source.layout, steps, folder, ram)
    if needed.problem and not config.run.duration:
        raise BudgetError(needed.problem)
    return needed.problem or str(needed)


def train_stream(config: Config, source: Replay) -> Stream:
    """Batches for updates."""
    return Stream(
        source,
        batch_size=config.batch_size,
        batch_length=config.batch_length,
        context=config.replay_context,
        consec=config.consec_train,
    )


def report_stream(config: Config, source: Replay) -> Stream:
    """Batches for reports; drawing them changes nothing in training."""
    return Stream(
        source,
        batch_size=config.batch_size,
        batch_length=config.report_length,
        context=config.replay_context,
        consec=config.consec_report,
        prefetch=0,
        probe=config.seed,
    )
