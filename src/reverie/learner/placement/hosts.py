"""The processes of a run over several hosts: how they find each other, and what they agree on.

They exchange small values through the key-value store of JAX's coordination service, which runs
in process 0: unlike an all-gather it waits for no device, works in every thread, and has limits of
time. Arrays go through the programs of the learner alone.
"""

import atexit
import collections
import contextlib
import itertools
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax

from reverie.learner.compilation.compiler import background, exit_now

SLURM = "slurm"
"""As the coordinator: address, number and index come from what SLURM sets for every task."""

HEARTBEAT_SECONDS = 30
"""After so long without a sign of life a process counts as dead, and JAX ends the others."""

LEAVE_SECONDS = 60
"""How long the first process waits for the others to hear that it leaves."""

_LOOK_SECONDS = 1.0
"""How often a wait comes back to Python, where signals are handled."""

_PAGE = 100
"""Rounds of `gather` whose values are deleted together: each call to the store takes its time."""

_LEFT = "left/"

# By thread, of this process and all its runs, one after the other: what the store has keeps its
# name.
_rounds: dict[str, Iterator[int]] = collections.defaultdict(itertools.count)

_vanishing = threading.Event()

_SLURM_NAMES = ("SLURM_JOB_ID", "SLURM_STEP_NODELIST", "SLURM_NTASKS", "SLURM_PROCID")


class HostsError(RuntimeError):
    """Processes of a run do not find each other, or one of them has left."""


class Hosts:
    """The processes that share every batch of a run; alone it is one and nothing is exchanged.

    All of them make the same calls in the same order.

    Args:
        index: Number of this process.
        count: How many there are.
    """

    def __init__(self, index: int = 0, count: int = 1):
        self.index, self.count = index, count
        self._together = False

    @property
    def first(self) -> bool:
        """Whether this process writes what there is once: configuration, checkpoints, metrics."""
        return self.index == 0

    def gather(self, value: Any, seconds: float = float("inf"), thread: str = "loop") -> list[Any]:
        """What every process gives, in their order.

        Args:
            value: What JSON can hold.
            seconds: How long to wait for the others.
            thread: Name of the thread that calls: calls of each are in an order of their own.

        Raises:
            HostsError: If another process has ended, or does not come in time.
        """
        if self.count == 1:
            return [value]
        number, end = next(_rounds[thread]), time.monotonic() + seconds
        page, rest = divmod(number, _PAGE)
        key = f"{thread}/{page}/{rest}"
        with self.explained():
            client, mine = _client(), json.dumps(value)
            if not self.first:
                client.key_value_set(f"{key}/{self.index}", mine)
                return json.loads(self._get(f"{key}/all", end))
            texts = [mine, *(self._get(f"{key}/{i}", end) for i in range(1, self.count))]
            client.key_value_set(f"{key}/all", f"[{', '.join(texts)}]")
            if page and not rest:  # All have read it: they have come to this round.
                client.key_value_delete(f"{thread}/{page - 1}/")
        return [json.loads(text) for text in texts]

    def complete(self, work: Callable[[], None], seconds: float) -> None:
        """Does its part of a save, and returns when all processes have done theirs.

        Raises:
            HostsError: If another process has ended, does not come in time, or could not do it.
            Exception: Whatever the work here has raised.
        """
        try:
            work()
        except BaseException as error:
            with contextlib.suppress(HostsError):  # They would wait.
                self.gather(_reason(error), seconds, "save")
            raise
        for number, reason in enumerate(self.gather("", seconds, "save")):
            if reason:
                raise HostsError(
                    f"Process {number} of the run could not save its part, so that there is no new "
                    f"checkpoint: {reason}"
                )

    def close(self) -> None:
        """Waits for the others at the end of a run."""
        self.gather("the end")
        self._together = True

    @contextlib.contextmanager
    def explained(self) -> Iterator[None]:
        """Inside, an exchange of values or arrays that fails is raised as a `HostsError`."""
        try:
            yield
        except jax.errors.JaxRuntimeError as error:
            if self.count == 1 or "RESOURCE_EXHAUSTED" in str(error):
                raise
            reason = str(error).strip().partition("\n")[0]
            raise HostsError(
                "Another process of the run has ended or hangs, and this one cannot go on without "
                f"it ({reason[:200]}). The last checkpoint is whole: start all of them again to go "
                "on."
            ) from error

    def __enter__(self) -> "Hosts":
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """Tells the others, which would wait for this process, unless all end together."""
        if self.count == 1 or self._together:
            return
        # JAX would wait for all the others when Python ends.
        _vanishing.set()
        atexit.register(vanish, 1)
        reason = _reason(error) if error else "it was stopped"
        with contextlib.suppress(jax.errors.JaxRuntimeError):
            _client().key_value_set(f"{_LEFT}{self.index}", reason)
            # The store ends with the first process: the others are to read this before.
            end = time.monotonic() + (LEAVE_SECONDS if self.first else 0)
            while time.monotonic() < end and len(_client().key_value_dir_get(_LEFT)) < self.count:
                time.sleep(0.1)

    def _get(self, key: str, end: float) -> str:
        """Waits for a value of the store."""
        while True:
            client, wait = _client(), int(1000 * _LOOK_SECONDS)
            try:
                return client.blocking_key_value_get(key, wait)
            except jax.errors.JaxRuntimeError as error:
                if "DEADLINE_EXCEEDED" not in str(error) or time.monotonic() > end:
                    raise
            for name, reason in client.key_value_dir_get(_LEFT):
                raise HostsError(
                    f"Process {name.removeprefix(_LEFT)} of the run has ended, and so does this "
                    f"one: {reason}"
                )


def connect(coordinator: str, processes: int, process: int, seconds: float) -> Hosts:
    """Finds the other processes of a run, before anything else uses JAX.

    A program that has called `jax.distributed.initialize` itself is taken as it is.

    Args:
        coordinator: `HOST:PORT` of process 0; `slurm` takes all three from SLURM; empty for one
            process.
        processes: How many there are.
        process: Number of this one.
        seconds: How long to wait for the others.

    Raises:
        HostsError: If they cannot be reached in time.
    """
    if not coordinator or (coordinator != SLURM and processes == 1):
        return Hosts()
    if not jax.distributed.is_initialized():
        _initialize(coordinator, processes, process, seconds)
    return Hosts(_state().process_id, _state().num_processes)


def _initialize(coordinator: str, processes: int, process: int, seconds: float) -> None:
    # It would take SIGTERM, which ends a run with a save.
    jax.config.update("jax_enable_preemption_service", False)
    limits: dict[str, Any] = {
        # Longer than is waited here, because JAX aborts the process then.
        "initialization_timeout": int(seconds) + 60,
        "heartbeat_timeout_seconds": HEARTBEAT_SECONDS,
    }
    if coordinator == SLURM:
        missing = [name for name in _SLURM_NAMES if name not in os.environ]
        if missing:
            raise HostsError(
                f"jax.coordinator is slurm, but {', '.join(missing)} is not set: start the "
                "processes with srun, or give jax.coordinator, jax.processes and jax.process."
            )
        limits |= {"cluster_detection_method": SLURM}
        coordinator = "the address that SLURM tells"
    else:
        limits |= {"cluster_detection_method": "deactivate", "num_processes": processes}
        limits |= {"coordinator_address": coordinator, "process_id": process}
        if process:
            _reach(coordinator, process, seconds)
    try:
        # In a thread, because signals have to wait for the end of such a call.
        background(lambda: jax.distributed.initialize(**limits)).result(seconds)
    except (RuntimeError, TimeoutError) as error:
        reason = str(error).strip().partition("\n")[0] or "not all of them have come."
        raise HostsError(
            f"The processes of the run did not find each other at {coordinator} within {seconds:g} "
            f"seconds (jax.connect_timeout): {reason}"
        ) from error


def _reach(coordinator: str, process: int, seconds: float) -> None:
    """Waits until process 0 listens; what JAX says where it does not fills a screen."""
    host, _, port = coordinator.rpartition(":")
    end, reason = time.monotonic() + seconds, ""
    while time.monotonic() < end:
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=5).close()
            return
        except OSError as error:
            reason = str(error)
            time.sleep(0.2)
    raise HostsError(
        f"Process {process} cannot reach process 0 at jax.coordinator {coordinator} within "
        f"{seconds:g} seconds (jax.connect_timeout): {reason}. Is it running, is the address that "
        "of its host, and is the port open?"
    )


def _state() -> Any:
    # JAX has no public way to its key-value store. Runs of one process do without this one.
    from jax._src import distributed

    return distributed.global_state


def _client() -> Any:
    return _state().client


def _reason(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".partition("\n")[0]


def vanish(code: int) -> None:
    """Ends this process at once where it has no others to wait for any more."""
    if _vanishing.is_set():
        exit_now(code)
