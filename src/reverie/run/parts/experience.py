"""Builds replay, what draws from it, and the streams of batches, from a configuration."""

import functools
import pathlib
from collections.abc import Callable, Mapping

import cloudpickle

from reverie.config.named import by_name
from reverie.config.schema import Config, ReplayConfig, unset
from reverie.errors import ConfigError
from reverie.replay.batches import AnyReplay, Batches
from reverie.replay.budget import Budget, BudgetError, choose_budget
from reverie.replay.chunk import Layout
from reverie.replay.files.archive import serials
from reverie.replay.files.storage import DiskStorage, RamStorage, Storage
from reverie.replay.replay import Replay
from reverie.replay.selectors.base import Selector
from reverie.replay.selectors.mixture import Mixture
from reverie.replay.selectors.prioritized import Prioritized
from reverie.replay.selectors.recency import Recency
from reverie.replay.selectors.uniform import Uniform
from reverie.replay.shards.place import here
from reverie.spaces import Space
from reverie.track.runs.status import LOCK

SHARE = 0.9
"""Of what fits, what a capacity that nobody has set takes."""

LEAST_BATCHES = 10
"""A capacity that holds fewer batches is not chosen: training on so little is worth no run."""


def budget(
    config: Config,
    spaces: Mapping[str, Space],
    latents: Mapping[str, Space],
    folder: pathlib.Path,
    **shares: int,
) -> Budget:
    """What experience replay will need at its largest, with that of evaluation episodes.

    A capacity that nobody has set is cut to what fits. `shares` are those of `estimate_budget`.

    Raises:
        BudgetError: If it cannot fit; not if the run is limited to a time in which nobody knows how
            far it will get.
    """
    choose = functools.partial(
        choose_budget,
        Layout({**spaces, **latents}, latents),
        folder=folder,
        kind=config.replay.storage,
        bound=config.replay.ram_gb * 1e9,
        compress=config.replay.compress != "none",
        held_out=held_out_steps(config),
        **shares,
    )
    needed = choose(min(config.replay.size, config.run.steps))
    if needed.problem and unset(config, ["replay.size"]):
        smaller = choose(int(SHARE * needed.fits))
        length = config.consec_train * config.batch_length + config.replay_context
        enough = smaller.steps >= LEAST_BATCHES * config.batch_size * length
        needed = smaller if enough and not smaller.problem else needed
    if needed.problem and not config.run.duration:
        raise BudgetError(needed.problem)
    return needed


def held_out_steps(config: Config) -> int:
    """Steps of evaluation episodes that are kept for reports; 0 where there are none to be made."""
    used = config.script == "train_eval" and config.run.report_every and not config.random_agent
    return config.replay.eval_size if used else 0


def replay(
    config: Config, spaces: Mapping[str, Space], latents: Mapping[str, Space], needed: Budget
) -> AnyReplay:
    """Experience replay: here, or in script parallel in processes of its own, if that is asked for.

    Raises:
        ConfigError: If others have to load what is in its folder.
    """
    make = _replay(config, spaces, latents, config.consec_train * config.batch_length)
    make = functools.partial(make, online=config.replay.online)
    shards = config.ray.replay_shards
    if shards and config.script == "parallel":
        if serials(needed.folder):
            raise ConfigError(
                f"Replay in {needed.folder} was saved by a single process, not by {shards} "
                "(ray.replay_shards): go on with --script train."
            )
        return _sharded(config, Layout({**spaces, **latents}, latents), make, needed)
    if shards and shard_folder(needed.folder, 0).is_dir():
        raise ConfigError(
            f"Replay in {needed.folder} was saved by {shards} processes (ray.replay_shards): "
            "go on with --script parallel."
        )
    return make(
        capacity=config.replay.size,
        selector=selector(config.replay, config.replay_context),
        storage=_storage(needed, needed.folder),
    )


def _sharded(
    config: Config, layout: Layout, make: Callable[..., Replay], needed: Budget
) -> AnyReplay:
    from reverie.replay.shards.sharded import ShardedReplay

    count = config.ray.replay_shards
    makes = [
        functools.partial(
            make,
            capacity=-(-config.replay.size // count),
            selector=selector(config.replay, config.replay_context),
            storage=_storage(needed, shard_folder(needed.folder, index), count),
            seed=config.seed + index,
        )
        for index in range(count)
    ]
    cpus = config.ray.cpus if config.ray.address else 0
    try:
        return ShardedReplay(
            layout,
            length=config.consec_train * config.batch_length + config.replay_context,
            context=config.replay_context,
            makes=[cloudpickle.dumps(each) for each in makes],
            place=here(),
            folders=[shard_folder(needed.folder, index) for index in range(count)],
            witness=needed.folder.with_name(LOCK),
            options={"num_cpus": cpus, "scheduling_strategy": "SPREAD"},
            seed=config.seed,
            timeout=config.run.env_timeout,
        )
    except FileNotFoundError as error:
        raise ConfigError(str(error)) from None


def shard_folder(folder: pathlib.Path, index: int) -> pathlib.Path:
    """Where a shard saves, in the folder of replay."""
    return folder / f"shard-{index}"


def _storage(needed: Budget, folder: pathlib.Path, shards: int = 1) -> Callable[[Layout], Storage]:
    if needed.bound is None:
        return functools.partial(RamStorage, compress=needed.compress)
    ram = int(needed.bound / shards)
    return functools.partial(DiskStorage, folder=folder, ram=ram, compress=needed.compress)


def eval_replay(
    config: Config, spaces: Mapping[str, Space], latents: Mapping[str, Space]
) -> Replay:
    """Steps of evaluation episodes, which training never sees; for reports.

    They live in RAM and are not saved: the next evaluation brings others.
    """
    make = _replay(config, spaces, latents, config.consec_report * config.report_length)
    return make(capacity=config.replay.eval_size, online=False)


def _replay(
    config: Config, spaces: Mapping[str, Space], latents: Mapping[str, Space], length: int
) -> Callable[..., Replay]:
    return functools.partial(
        Replay,
        {**spaces, **latents},
        length=length + config.replay_context,
        chunksize=config.replay.chunksize,
        context=config.replay_context,
        latents=tuple(latents),
        seed=config.seed,
    )


def selector(config: ReplayConfig, context: int) -> Selector:
    """What draws the sequences: one selector, a mixture of those with a share, or the user's own.

    Raises:
        ConfigError: If the user's own cannot be loaded, or is no selector.
    """
    if config.selector != "fracs":
        made = by_name("replay.selector", config.selector, {})()
        if not isinstance(made, Selector):
            methods = ("__len__", "insert", "remove", "sample")
            missing = ", ".join(method for method in methods if not hasattr(made, method))
            raise ConfigError(
                f"replay.selector: {config.selector!r} is no selector, it has no {missing}."
            )
        return made
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


def unsaved_bytes(config: Config, source: AnyReplay) -> int:
    """What the next save of a replay may write: a chunk of every environment and one file twice.

    A short run never fills these chunks: then it is all of its steps and one file twice. Batches
    that wait, and row numbers of three selectors, come on top.
    """
    steps, nbytes = min(config.replay.size, config.run.steps), source.layout.nbytes
    envs = config.run.envs * (config.ray.actors if config.script == "parallel" else 1)
    chunks = min((envs + 1) * nbytes(config.replay.chunksize), 2 * nbytes(steps))
    batch = nbytes(config.batch_size * (config.batch_length + config.replay_context))
    return chunks + 4 * batch + 24 * steps


def batches(config: Config, source: AnyReplay, report: bool = False) -> Batches:
    """Batches for updates, or for reports: drawing those changes nothing in training."""
    return Batches(
        source,
        batch_size=config.batch_size,
        batch_length=config.report_length if report else config.batch_length,
        context=config.replay_context,
        consec=config.consec_report if report else config.consec_train,
        prefetch=0 if report else 2,
        probe=config.seed if report else None,
    )
