"""A small process that forks environment workers and takes them down with it.

The training process holds device threads, so it must not be forked, and starting every worker as
a new interpreter costs a third of a second each. The nursery is started once, imports gymnasium
and nothing of the device, and forks workers in milliseconds. It leads a process group of its own:
Ctrl-C in the terminal reaches the trainer alone, and when the trainer disappears, however that
happens, the nursery sees the end of its control connection and kills its workers, even ones that
hang in native code. Each worker leads a group too, which ends with it: a simulator or server that
an environment has started does not stay behind when the environment is restarted.
"""

import contextlib
import ctypes
import json
import os
import selectors
import signal
import socket
import struct
import subprocess
import sys
import time
import traceback
import weakref
from collections.abc import Iterator

# The trainer asks with this byte and the worker's connection; the nursery answers with messages.
_FORK = b"f"
_STARTED, _EXITED = b"s", b"x"
_MESSAGE = struct.Struct("<cqq")
_PR_SET_PDEATHSIG = 1
_POLITE = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

_OFF_ACCELERATOR = {"JAX_PLATFORMS": "cpu", "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
"""Environments that use JAX would each take most of the memory that the agent needs."""

_BOOT = (
    "import sys, json; sys.path[:] = json.loads(sys.argv[2]); "
    "from reverie.envs.nursery import main; main(int(sys.argv[1]))"
)


class Nursery:
    """The trainer's side: starts workers and learns how they ended."""

    def __init__(self):
        self._control, theirs = socket.socketpair()
        # One environment per process: a pool of maths threads in each would only fight for cores.
        threads = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
        environ: dict[str, str] = dict.fromkeys(threads, "1")
        # Environments that iterate over sets of strings then do the same in every run.
        environ["PYTHONHASHSEED"] = "0"
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _BOOT, str(theirs.fileno()), json.dumps(sys.path)],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                env={**environ, **os.environ, **_OFF_ACCELERATOR},
            )
        self._ended: dict[int, int] = {}
        self._buffer = b""
        self._finalizer = weakref.finalize(self, _end, self._control, self._process)

    def start(self) -> tuple[int, socket.socket]:
        """Forks a worker; returns its process id and our end of its connection."""
        ours, theirs = socket.socketpair()
        with theirs, contextlib.suppress(BrokenPipeError):
            socket.send_fds(self._control, [_FORK], [theirs.fileno()])
        while True:
            message = self._receive(None)
            if message is None:
                ours.close()
                raise RuntimeError(
                    f"The process that starts environment workers ended with "
                    f"{describe_exit(self._process.wait())}. Its message is above."
                )
            kind, pid = message
            if kind == _STARTED:
                # An earlier worker may have had the same number.
                self._ended.pop(pid, None)
                return pid, ours

    def exit_code(self, pid: int, timeout: float = 2.0) -> int | None:
        """Exit code of a worker that ended (minus the signal that killed it), None if it lives."""
        deadline = time.monotonic() + timeout
        while pid not in self._ended:
            if self._receive(max(0.0, deadline - time.monotonic())) is None:
                return None
        return self._ended[pid]

    def kill(self, pid: int) -> None:
        """Kills a worker at once; one that has ended already is left in peace."""
        if self.exit_code(pid, timeout=0) is None:
            # It may end between the question and the signal.
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def close(self) -> None:
        """Kills the workers that are left and waits for the nursery itself."""
        self._finalizer()

    def _receive(self, timeout: float | None) -> tuple[bytes, int] | None:
        """The next message, or None when the time is up or the nursery is gone."""
        self._control.settimeout(timeout)
        try:
            while len(self._buffer) < _MESSAGE.size:
                part = self._control.recv(_MESSAGE.size - len(self._buffer))
                if not part:
                    return None
                self._buffer += part
        except (TimeoutError, BlockingIOError, ConnectionResetError):
            return None
        body, self._buffer = self._buffer, b""
        kind, pid, status = _MESSAGE.unpack(body)
        if kind == _EXITED:
            self._ended[pid] = os.waitstatus_to_exitcode(status)
        return kind, pid


def describe_exit(code: int | None) -> str:
    """An exit code in words, such as `signal SIGSEGV`."""
    if code is None:
        return "no exit code yet"
    if code < 0:
        return f"signal {signal.Signals(-code).name}"
    return f"exit code {code}"


def main(fd: int) -> None:
    """The nursery's own loop; runs until the trainer closes the connection, then kills all."""
    from reverie.envs import worker

    control = socket.socket(fileno=fd)
    wake_read, wake_write = socket.socketpair()
    wake_read.setblocking(False)
    wake_write.setblocking(False)
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    # Whoever ends all processes at once, as clusters do, leaves it to the trainer to save first.
    for number in _POLITE:
        signal.signal(number, signal.SIG_IGN)
    signal.set_wakeup_fd(wake_write.fileno())
    selector = selectors.DefaultSelector()
    selector.register(control, selectors.EVENT_READ)
    selector.register(wake_read, selectors.EVENT_READ)
    workers: set[int] = set()
    while True:
        ready = [key.fileobj for key, _ in selector.select()]
        if wake_read in ready:
            wake_read.recv(4096)
            for pid, status in _reap():
                workers.discard(pid)
                _tell(control, workers, _EXITED, pid, status)
        if control in ready:
            try:
                request, fds, _, _ = socket.recv_fds(control, 1, 1)
            except ConnectionResetError:
                request, fds = b"", []
            if not request:
                _kill_all(workers)
            pid = os.fork()
            if pid == 0:
                selector.close()
                for end in (control, wake_read, wake_write):
                    end.close()
                _become_worker(worker.main, fds[0])
            os.close(fds[0])
            workers.add(pid)
            _tell(control, workers, _STARTED, pid, 0)


def _become_worker(run, fd: int) -> None:
    """Runs a worker in the forked child and ends the child, whatever happens."""
    code = 1
    try:
        os.setpgid(0, 0)
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, *_POLITE):
            signal.signal(number, signal.SIG_DFL)
        _die_with_parent()
        run(fd)
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        # The trainer may run without standard streams, or their reader may have left.
        with contextlib.suppress(AttributeError, OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _die_with_parent() -> None:
    """Linux: SIGKILL for this process when the nursery ends, even by force."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def _reap() -> Iterator[tuple[int, int]]:
    """Process id and wait status of the workers that have ended; kills what they had started."""
    while True:
        try:
            # The number of a process that nobody has waited for yet cannot be given out again.
            ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return
        if ended is None:
            return
        _kill_group(ended.si_pid)
        yield os.waitpid(ended.si_pid, 0)


def _tell(control: socket.socket, workers: set[int], kind: bytes, pid: int, status: int) -> None:
    try:
        control.sendall(_MESSAGE.pack(kind, pid, status))
    except (BrokenPipeError, ConnectionResetError):
        _kill_all(workers)


def _kill_all(workers: set[int]) -> None:
    """Ends the workers, what they have started, and this process."""
    for pid in workers:
        _kill_group(pid)
        # A worker that was forked a moment ago leads no group yet.
        os.kill(pid, signal.SIGKILL)
    os.killpg(0, signal.SIGKILL)


def _kill_group(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)


def _end(control: socket.socket, process: subprocess.Popen) -> None:
    control.close()
    process.wait()
