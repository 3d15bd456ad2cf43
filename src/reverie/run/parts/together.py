"""A run over several processes: what is compared at the start, shared, and agreed on in each turn.

Every process runs the same loop with environments and a replay of its own, and makes the same
updates at the same time. So a turn of the loop counts for all of them or for none: after it has
collected its steps, each says how many there are, whether it has to stop and whether somebody
wants a save, before anything of them is stored.
"""

import dataclasses
import logging
import pathlib
import shutil
import signal
import socket
from typing import Any

import jax

from reverie import __version__
from reverie.config.checks import check
from reverie.config.load import STAMP
from reverie.config.schema import Config, with_values
from reverie.config.syntax.keys import flatten, groups
from reverie.envs.vector import seeds
from reverie.errors import ConfigError
from reverie.learner.checkpoints.checkpoint import (
    Checkpoint,
    Checkpointer,
    CheckpointError,
    locate,
    read,
)
from reverie.learner.placement.hosts import Hosts, HostsError
from reverie.run.parts.defaults import REPLAY
from reverie.run.parts.shutdown import Shutdown, Stopped
from reverie.run.saved.folder import RunFolder

log = logging.getLogger(__name__)

HOST_INDEX = 1 << 26
"""Derives the seeds of a process, but for the first, from that of the run."""

RESCUE_SECONDS = 60.0
"""How long a process that has failed waits for the others, to save together."""

_OWN = ("jax.process", "jax.cache_dir", "jax.policy_device", "logdir")
"""Options that may be others in each process; the run folder is that of the first one."""


def same(config: Config, hosts: Hosts) -> None:
    """Checks that all processes have been started with the same options and versions.

    Raises:
        ConfigError: If they have not; in every process.
    """
    if config.batch_size % hosts.count:
        raise ConfigError(
            f"batch_size = {config.batch_size} must be divisible by the {hosts.count} processes, "
            "which share every batch."
        )
    options = {k: x for k, x in flatten(config.model_dump(), groups(Config)) if k not in _OWN}
    options |= {"the version of Reverie": __version__, "the version of JAX": jax.__version__}
    if STAMP not in config.sources.get("logdir", ""):
        options["logdir"] = config.logdir
    mine = {key: repr(value) for key, value in options.items()}
    first, *others = hosts.gather(mine)
    for number, theirs in enumerate(others, 1):
        for key in sorted({*first, *theirs}):
            one, other = (x.get(key, "nothing") for x in (first, theirs))
            if one != other:
                raise ConfigError(
                    f"The processes of a run need the same options: {key} is {one} in process 0 "
                    f"and {other} in process {number}."
                )


def located(folder: RunFolder, hosts: Hosts) -> RunFolder:
    """The run folder that the first process means, whose working folder may be another one."""
    return RunFolder(pathlib.Path(hosts.gather(str(folder.root))[0]), hosts.index)


def shares(hosts: Hosts) -> dict[str, int]:
    """How many processes share memory and disk, as for `estimate_budget`.

    All of them see the run folder, and those of one host have one memory.
    """
    name = socket.gethostname()
    return {"ram_shares": hosts.gather(name).count(name), "disk_shares": hosts.count}


def create(folder: RunFolder, hosts: Hosts, fresh: bool) -> RunFolder:
    """Makes the run folder, which the first process names.

    Raises:
        ConfigError: If that is not possible, or the processes do not see the same folder.
    """
    if hosts.first:
        folder = folder.create(fresh)
    folder = located(folder, hosts)
    seen = hosts.gather([Checkpointer(folder.checkpoints).steps(), socket.gethostname()])
    for number, (steps, name) in enumerate(seen):
        if steps != seen[0][0]:
            raise ConfigError(
                f"Process {number} on {name} sees the checkpoints {steps} in {folder.root}, and "
                f"process 0 on {seen[0][1]} sees {seen[0][0]}: a run over several hosts needs a "
                "--logdir that all of them share."
            )
    folder.own.mkdir(parents=True, exist_ok=True)
    return folder


def share(config: Config, hosts: Hosts) -> Config:
    """The options of what a process has by itself: its part of each batch, and of replay.

    Raises:
        ConfigError: If a part is too small.
    """
    count = hosts.count
    if count == 1:
        return config
    values: dict[str, Any] = {
        "batch_size": config.batch_size // count,
        "run.steps": -(-config.run.steps // count),
        "jax.processes": 1,
        "jax.process": 0,
    }
    if not hosts.first:
        values["seed"] = seeds.env_seed(config.seed, HOST_INDEX + hosts.index)
    part = with_values(config, values, f"the share of {count} processes")
    # Where nobody has set it, it is still cut to what fits.
    replay = config.replay.model_copy(update={"size": config.replay.size // count})
    part = part.model_copy(update={"replay": replay})
    check(part)
    return part


def fit(config: Config, part: Config, hosts: Hosts) -> tuple[Config, Config]:
    """The options of the run and of this process, with a replay for which all have room."""
    size = min(hosts.gather(part.replay.size))
    if size == config.replay.size // hosts.count:
        return config, part
    config = with_values(config, {REPLAY: size * hosts.count}, "chosen to fit")
    return config, with_values(part, {REPLAY: size}, "chosen to fit")


def own_part(folder: RunFolder, saved: Checkpoint) -> Checkpoint:
    """What another process than the first has kept for a checkpoint, if it was there before."""
    for step in Checkpointer(folder.parts).steps():
        if step > saved.step:  # The run was killed before its checkpoint was there.
            shutil.rmtree(folder.parts / f"{step:012d}")
    acting = {name: x for name, x in saved.held.items() if name.startswith("acting/")}
    try:
        found = read(locate(folder.parts / f"{saved.step:012d}"))
    except CheckpointError as error:
        if int(folder.own.name) < saved.meta.get("processes", 1):
            log.warning("Process %s goes on, but not exactly: %s", folder.own.name, error)
        return Checkpoint(saved.step, {}, {}, folder.parts, acting)
    return dataclasses.replace(found, held=found.held | acting)


@dataclasses.dataclass(frozen=True)
class Turn:
    """What is known of a turn of the loop.

    Args:
        steps: New environment steps, of all processes.
        ready: Whether all replays are ready for an update.
        save: Whether somebody wants a save.
    """

    steps: int
    ready: bool
    save: bool


class Together:
    """What the processes agree on while the loop runs; alone there is nothing to ask.

    Attributes:
        wanted: Whether this process wants a save in the next turn.
    """

    def __init__(self, hosts: Hosts, shutdown: Shutdown):
        self.hosts = hosts
        self.wanted = False
        self._failure = ""
        self._shutdown = shutdown
        self._ended = hosts.count == 1

    @property
    def alone(self) -> bool:
        """Whether this is the only process."""
        return self.hosts.count == 1

    @property
    def running(self) -> bool:
        """Whether there are others, with which the loop has not ended."""
        return not self._ended

    def turn(self, steps: int, ready: bool) -> Turn:
        """Says what this process has, and returns what all of them have.

        Raises:
            Stopped: If one of the processes has to end: the turn counts for none of them.
            HostsError: If one of them is gone.
        """
        if self.alone:
            return Turn(steps, ready, False)
        wanted, self.wanted = self.wanted, False
        each = self.hosts.gather([None, steps, ready, wanted])
        if self._heed(each):
            raise Stopped
        return Turn(sum(x[1] for x in each), all(x[2] for x in each), any(x[3] for x in each))

    def end(self, failure: str = "", *, limit: bool = False) -> None:
        """Ends the loop of all processes at their next turn, if they have not ended it.

        Args:
            failure: What has gone wrong here; empty after a signal, or when time is up.
            limit: Whether the run has reached its limit of steps, which nobody has to be told.

        Raises:
            HostsError: If the others do not come to their next turn.
        """
        ended, self._ended = self._ended, True
        if not ended and not limit:
            stop = [int(self._shutdown.requested or 0), failure]
            each = self.hosts.gather([stop, 0, False, False], RESCUE_SECONDS)
            self._heed(each)

    def check(self) -> None:
        """Raises HostsError if it was another process that has failed and ended the loop."""
        if self._failure:
            raise HostsError(
                f"Another process of the run has failed, and the run was saved: {self._failure}"
            )

    def _heed(self, each: list[Any]) -> bool:
        """Takes over why others stop; returns whether one does."""
        stops = [stop for stop, *_ in each if stop]
        for number, failure in stops:
            if number and self._shutdown.requested is None:
                self._shutdown.requested = signal.Signals(number)
            self._failure = self._failure or failure
        self._ended |= bool(stops)
        return bool(stops)
