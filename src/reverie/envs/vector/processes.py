"""The trainer's side of environment processes: requests, answers and what becomes of them."""

import contextlib
import json
import math
import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection, Pipe, wait
from typing import IO, Any

import cloudpickle
import gymnasium

from reverie.envs.errors import Cancelled, WorkerError
from reverie.envs.probe import Probe
from reverie.envs.vector.restarts import TICK
from reverie.envs.vector.worker import LENGTH

EXIT_SECONDS = 2.0
PART = 1 << 18
"""Most bytes of an answer that are read at once."""

_OFF_ACCELERATOR = {"JAX_PLATFORMS": "cpu", "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
"""Environments that use JAX would each take most of the memory that the agent needs."""

_BOOT = "import sys, json; sys.path[:] = json.loads(sys.argv.pop()); "
_WORKER = "from reverie.envs.vector.worker import main; main(*map(int, sys.argv[1:]))"


def python(code: str, *words: object, options: Sequence[str] = ()) -> list[str]:
    """A command that runs code, which finds modules where this process does, and has `sys`."""
    path = json.dumps(sys.path, default=str)
    return [sys.executable, *options, "-c", _BOOT + code, *map(str, words), path]


class ForkServer:
    """The trainer's side: starts workers and learns how they ended."""

    def __init__(self):
        self._control, control = socket.socketpair()
        self._messages, messages = Pipe(duplex=False)
        # One environment per process: a pool of maths threads in each would only fight for cores.
        threads = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
        environ: dict[str, str] = dict.fromkeys(threads, "1")
        # Environments that iterate over sets of strings then do the same in every run.
        environ["PYTHONHASHSEED"] = "0"
        with control, messages:
            ends = control.fileno(), messages.fileno()
            # What stands above a board on a terminal has to go through this process.
            piped = type(sys.stdout).__module__ == "rich.file_proxy"
            self._process = subprocess.Popen(
                python(_WORKER, *ends, options=["-u"] * piped),
                pass_fds=ends,
                stdout=subprocess.PIPE if piped else None,
                stderr=subprocess.STDOUT if piped and os.isatty(2) else None,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                env={**environ, **os.environ, **_OFF_ACCELERATOR},
            )
        if output := self._process.stdout:
            threading.Thread(target=_print_all, args=[output], daemon=True).start()
        self._alive: set[int] = set()
        self._ended: dict[int, int] = {}
        self._finalizer = weakref.finalize(self, _end, self._control, self._process)

    def start(self) -> tuple[int, Connection]:
        """Forks a worker; returns its process id and our end of its connection."""
        ours, theirs = Pipe()
        with theirs, contextlib.suppress(BrokenPipeError):
            socket.send_fds(self._control, [b"f"], [theirs.fileno()])
        while True:
            message = self._receive(None)
            if message is None:
                ours.close()
                raise RuntimeError(
                    f"The process that starts environment workers ended with "
                    f"{describe_exit(self._process.wait())}. Its message is above."
                )
            pid, status = message
            if status is None:
                # An earlier worker may have had the same number.
                self._ended.pop(pid, None)
                self._alive.add(pid)
                return pid, ours

    def exit_code(self, pid: int, timeout: float = EXIT_SECONDS) -> int | None:
        """Exit code of a worker that ended (minus the signal that killed it), None if it lives."""
        deadline = time.monotonic() + timeout
        while pid not in self._ended:
            if self._receive(max(0.0, deadline - time.monotonic())) is None:
                return None
        return self._ended[pid]

    def kill(self, pid: int) -> None:
        """Kills a worker and waits for that; one that has ended already is left in peace."""
        if self.exit_code(pid, timeout=0) is None:
            # It may end between the question and the signal.
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            self.exit_code(pid)

    def close(self, seconds: float = EXIT_SECONDS) -> None:
        """Waits so long for the workers to end, kills those that are left, and ends itself."""
        deadline = time.monotonic() + seconds
        for pid in list(self._alive):
            self.exit_code(pid, max(0.0, deadline - time.monotonic()))
        self._finalizer()

    def _receive(self, timeout: float | None) -> tuple[int, int | None] | None:
        """The next message, or None when the time is up or the server is gone.

        It holds the id of a process that has started (None) or ended (its wait status).
        """
        try:
            if not self._messages.poll(timeout):
                return None
            pid, status = self._messages.recv()
        except (EOFError, OSError):
            return None
        if status is not None:
            self._alive.discard(pid)
            self._ended[pid] = os.waitstatus_to_exitcode(status)
        return pid, status


def describe_exit(code: int | None) -> str:
    """An exit code in words, such as `signal SIGSEGV`."""
    if code is None:
        return "no exit code yet"
    if code < 0:
        return f"signal {signal.Signals(-code).name}"
    return f"exit code {code}"


Answers = dict[int, Any]
Failures = dict[int, WorkerError]


class RemoteEnv:
    """One environment process, requests to it and its answers.

    The seed is that of the global random generators there.
    """

    def __init__(
        self,
        index: int,
        server: ForkServer,
        factory: Callable[[], gymnasium.Env],
        seed: int | None,
    ):
        self.index = index
        self._server = server
        self._received = bytearray()
        self.pid, self.connection = server.start()
        self._send((cloudpickle.dumps(factory), seed))

    def send(self, request: str, given: Any) -> None:
        """Requests something, see `local.play`."""
        self._send((request, given))

    def arrived(self) -> bool:
        """Takes in what has come, without waiting for more; whether the answer is whole or lost."""
        try:
            part = os.read(self.connection.fileno(), PART)
        except OSError:
            part = b""
        self._received += part
        have = len(self._received) - LENGTH.size
        return not part or (have >= 0 and have >= LENGTH.unpack_from(self._received)[0])

    def answer(self) -> Any:
        """What has arrived in reply to a request.

        Returns:
            The spaces and a pickled `Probe` once the environment is built; after that what `play`
            returns.

        Raises:
            WorkerError: The environment raised or died.
        """
        received, self._received = memoryview(self._received)[LENGTH.size :], bytearray()
        try:
            kind, *payload = pickle.loads(received)
        except (EOFError, pickle.UnpicklingError) as error:
            code = describe_exit(self._server.exit_code(self.pid))
            raise WorkerError(
                self.index,
                "died",
                f"The process of environment {self.index} died with {code}. Its last messages, if "
                "any, are on the standard error output.",
            ) from error
        if kind == "raised":
            summary, trace = payload
            raise WorkerError(
                self.index,
                "raised",
                f"Environment {self.index} raised {summary}\n\nIn its process:\n{trace}",
                trace,
            )
        return payload[0]

    def kill(self) -> None:
        """Ends the process by force and waits for that."""
        self.close()
        self._server.kill(self.pid)

    def close(self) -> None:
        """Lets the environment close itself, after which the process ends."""
        if not self.connection.closed:
            self._send(None)
            self.connection.close()

    def _send(self, message: Any) -> None:
        # A worker that has died is reported by the next answer.
        with contextlib.suppress(ConnectionError):
            self.connection.send_bytes(pickle.dumps(message))


def collect(
    remotes: Sequence[RemoteEnv],
    seconds: float | None = None,
    cancelled: Callable[[], bool] = lambda: False,
) -> tuple[Answers, Failures]:
    """Waits until every one of some processes has answered a request or failed.

    Time is counted in ticks of the waiting itself, not by the clock: while this process is
    suspended its environments are too, and must not count as hung afterwards.

    Args:
        seconds: Time for all answers together; None waits for ever.

    Returns:
        Answers, and what went wrong with the others, by number of the environment.

    Raises:
        Cancelled: If the run is to end.
    """
    answers: Answers = {}
    failed: Failures = {}
    pending: dict[Any, RemoteEnv] = {each.connection: each for each in remotes}
    tick = TICK if seconds is None else min(TICK, seconds)
    left = math.inf if seconds is None else math.ceil(seconds / tick)
    while pending and left > 0:
        ready = wait(list(pending), tick)
        for connection in ready:
            if not pending[connection].arrived():
                continue
            remote = pending.pop(connection)
            try:
                answers[remote.index] = remote.answer()
            except WorkerError as error:
                failed[remote.index] = error
        if not ready:
            left -= 1
            if cancelled():
                raise Cancelled("Waiting for an environment was cancelled.")
    for remote in pending.values():
        remote.kill()
        failed[remote.index] = WorkerError(
            remote.index,
            "hung",
            f"Environment {remote.index} did not answer within {seconds:g} seconds, so its process "
            "was killed. Raise run.env_timeout if it may take that long.",
        )
    return answers, dict(sorted(failed.items()))


def probe_in_process(factory: Callable[[], gymnasium.Env]) -> Probe:
    """Looks at an environment that is built in a process of its own, and closed again.

    Raises:
        WorkerError: It could not be built.
    """
    with contextlib.closing(ForkServer()) as server:
        with contextlib.closing(RemoteEnv(0, server, factory, 0)) as remote:
            found, failed = collect([remote])
        if failed:
            raise failed[0]
        return cloudpickle.loads(found[0][2])


def _print_all(output: IO[bytes]) -> None:
    with output:
        for line in output:
            # A terminal may be closed while the run goes on: environments may print all the same.
            with contextlib.suppress(OSError):
                print(line.decode(errors="replace").rstrip("\r\n"))


def _end(control: socket.socket, process: subprocess.Popen) -> None:
    control.close()
    process.wait()
