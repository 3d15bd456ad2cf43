"""A small process that forks environment workers and takes them down with it.

The training process holds device threads, so it must not be forked, and starting every worker as
a new interpreter costs a third of a second each. The nursery is started once, imports gymnasium
and nothing of the device, and forks workers in milliseconds. It leads a process group of its own:
Ctrl-C in the terminal reaches the trainer alone, and when the trainer disappears, however that
happens, the nursery sees the end of its control connection and kills the group: its workers, even
ones that hang in native code, and whatever they started.
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

# The trainer asks with this byte and the worker's connection; the nursery answers with messages.
_FORK = b"f"
_STARTED, _EXITED = b"s", b"x"
_MESSAGE = struct.Struct("<cqq")
_PR_SET_PDEATHSIG = 1

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
                env={**environ, **os.environ},
            )
        self._ended: dict[int, int] = {}
        self._buffer = b""
        self._finalizer = weakref.finalize(self, _end, self._control, self._process)

    def start(self) -> tuple[int, socket.socket]:
        """Forks a worker; returns its process id and our end of its connection."""
        ours, theirs = socket.socketpair()
        with theirs:
            socket.send_fds(self._control, [_FORK], [theirs.fileno()])
        while True:
            message = self._receive(None)
            if message is None:
                raise RuntimeError(
                    f"The process that starts environment workers ended with "
                    f"{describe_exit(self._process.wait())}. Its message is above."
                )
            if message[0] == _STARTED:
                return message[1], ours

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
    signal.set_wakeup_fd(wake_write.fileno())
    selector = selectors.DefaultSelector()
    selector.register(control, selectors.EVENT_READ)
    selector.register(wake_read, selectors.EVENT_READ)
    while True:
        ready = [key.fileobj for key, _ in selector.select()]
        if wake_read in ready:
            wake_read.recv(4096)
            _reap(control)
        if control in ready:
            request, fds, _, _ = socket.recv_fds(control, 1, 1)
            if not request:
                os.killpg(0, signal.SIGKILL)
            pid = os.fork()
            if pid == 0:
                selector.close()
                for end in (control, wake_read, wake_write):
                    end.close()
                _become_worker(worker.main, fds[0])
            os.close(fds[0])
            _tell(control, _STARTED, pid, 0)


def _become_worker(run, fd: int) -> None:
    """Runs a worker in the forked child and ends the child, whatever happens."""
    code = 1
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        _die_with_parent()
        run(fd)
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _die_with_parent() -> None:
    """Linux: SIGKILL for this process when the nursery ends. Elsewhere the group kill does it."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def _reap(control: socket.socket) -> None:
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        _tell(control, _EXITED, pid, status)


def _tell(control: socket.socket, kind: bytes, pid: int, status: int) -> None:
    try:
        control.sendall(_MESSAGE.pack(kind, pid, status))
    except (BrokenPipeError, ConnectionResetError):
        os.killpg(0, signal.SIGKILL)


def _end(control: socket.socket, process: subprocess.Popen) -> None:
    control.close()
    process.wait()
