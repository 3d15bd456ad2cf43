"""What runs in other processes than the trainer's: environment workers, and what forks them.

The training process holds device threads, so it must not be forked, and starting every worker as
a new interpreter costs a third of a second each. The fork server, `main`, is started once, imports
gymnasium and nothing of the device, and forks workers in milliseconds. It leads a process group of
its own: Ctrl-C in the terminal reaches the trainer alone, and when the trainer disappears, however
that happens, the server sees the end of its control connection and kills its workers, even ones
that hang in native code. Each worker leads a group too, which ends with it: a simulator or server
that an environment has started does not stay behind when the environment is restarted. That of
`multiprocessing` lives until the trainer ends and leaves groups alone: a second process in each
worker has to watch over them, with which 16 workers took 982 instead of 577 MB.

A worker, `run`, is sent how to build its environment and answers with the spaces; then it is sent a
block of memory that both see, in which actions and results lie; then one message for each reset and
step, which it answers when the results are there. What the environment raises is sent in place of
an answer.
"""

import contextlib
import ctypes
import dataclasses
import mmap
import os
import pickle
import random
import selectors
import signal
import socket
import struct
import sys
import tempfile
import traceback
from collections.abc import Iterator, Mapping
from multiprocessing.connection import Connection
from multiprocessing.reduction import recv_handle

import cloudpickle
import gymnasium
import numpy as np

from reverie.envs.errors import raised
from reverie.envs.flat.logs import OnlyLogs
from reverie.envs.probe import probe
from reverie.envs.wrappers import wrap

# The trainer asks for a worker with this byte and its connection; the server answers with messages.
FORK = b"f"
STARTED, EXITED = b"s", b"x"
MESSAGE = struct.Struct("<cqq")

_PR_SET_PDEATHSIG = 1
_POLITE = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

ACTION, OBSERVATION, OUTCOME = "action:", "observation:", "outcome"
"""Names in shared memory: prefixes of the keys, and (reward, terminated, truncated) as float64."""

STEP, CLOSE, DONE = b"S", b"C", b"D"
"""Requests and the usual answer; a reset is requested by its pickled seed."""

ALIGN = 64


@dataclasses.dataclass(frozen=True)
class Layout:
    """Where each array lies in a block of shared memory, each on its own cache lines.

    Args:
        fields: Name -> (dtype, shape).
    """

    fields: Mapping[str, tuple[str, tuple[int, ...]]]

    def create(self) -> int:
        """File descriptor of a new block of zeros.

        The file has no name, so it vanishes with the last process that holds it, however that
        ends; `multiprocessing.shared_memory` needs one more process to see to that.
        """
        folder = "/dev/shm" if os.path.isdir("/dev/shm") else None
        with tempfile.TemporaryFile(dir=folder) as file:
            file.truncate(sum(map(_room, self.fields.values())))
            return os.dup(file.fileno())

    def attach(self, block: int) -> dict[str, np.ndarray]:
        """The arrays of a block, as views into the shared memory."""
        memory, offset, arrays = mmap.mmap(block, 0), 0, {}
        for name, (dtype, shape) in self.fields.items():
            arrays[name] = np.ndarray(shape, dtype, buffer=memory, offset=offset)
            offset += _room((dtype, shape))
        return arrays


def _room(field: tuple[str, tuple[int, ...]]) -> int:
    dtype, shape = field
    return -(-np.dtype(dtype).itemsize * int(np.prod(shape, dtype=np.int64)) // ALIGN) * ALIGN


def part(arrays: Mapping[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    """The arrays whose names begin so, without that."""
    return {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}


def run(connection: Connection) -> None:
    """Serves one environment until the parent closes it or disappears."""
    # When the parent has ended, there is nobody left who could be told.
    with contextlib.suppress(ConnectionError), connection:
        _report(connection)


def _report(connection: Connection) -> None:
    """Runs the environment and sends the traceback of whatever it raises."""
    env = None
    try:
        env = _load(connection)
        try:
            _serve(connection, env)
        finally:
            env.close()
    except Exception as error:
        summary = raised(error, env.steps if env else 0)
        connection.send_bytes(pickle.dumps(("raised", summary, traceback.format_exc())))


def _load(connection: Connection) -> OnlyLogs:
    """Builds the environment and tells the parent its spaces."""
    pickled, seed = connection.recv()
    # Forked siblings share the state of the global generators until they are seeded apart.
    random.seed(seed)
    np.random.seed(seed)
    env = OnlyLogs(wrap(pickle.loads(pickled)()))
    # Spaces of the user's own may be of classes that travel by cloudpickle alone.
    seen = cloudpickle.dumps(probe(env))
    spaces = env.observation_space, env.action_space
    connection.send_bytes(pickle.dumps(("done", (*spaces, seen))))
    return env


def _attach(connection: Connection, layout: Layout, index: int) -> dict[str, np.ndarray]:
    """The arrays of this environment in the shared memory that the parent sends."""
    block = recv_handle(connection)
    arrays = layout.attach(block)
    os.close(block)
    # Slices with `...` stay views even where one entry is a scalar.
    return {name: array[index, ...] for name, array in arrays.items()}


def _serve(connection: Connection, env: gymnasium.Env) -> None:
    """The loop: reset and step on request, NEXT_STEP autoreset, results in shared memory."""
    if (shared := connection.recv_bytes()) == CLOSE:
        return
    arrays = _attach(connection, *pickle.loads(shared))
    actions = list(part(arrays, ACTION).items())
    observations = list(part(arrays, OBSERVATION).items())
    outcome, over = arrays[OUTCOME], False
    while (request := connection.recv_bytes()) != CLOSE:
        reward, terminated, truncated = 0.0, False, False
        if request != STEP:
            obs, logs = env.reset(seed=pickle.loads(request))
        elif over:
            obs, logs = env.reset()
        else:
            # Copies (numpy scalars of single numbers), because an environment may keep its action
            # while this memory moves on.
            action = {key: array.copy()[()] for key, array in actions}
            obs, reward, terminated, truncated, logs = env.step(action)
        over = terminated or truncated
        for key, array in observations:
            array[...] = obs[key]
        outcome[:] = reward, terminated, truncated
        connection.send_bytes(pickle.dumps(("done", logs)) if logs else DONE)


def main(fd: int) -> None:
    """The server's own loop; runs until the trainer closes the connection, then kills all."""
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
                _tell(control, workers, EXITED, pid, status)
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
                _become_worker(Connection(fds[0]))
            os.close(fds[0])
            workers.add(pid)
            _tell(control, workers, STARTED, pid, 0)


def _become_worker(connection: Connection) -> None:
    """Runs a worker in the forked child and ends the child, whatever happens."""
    code = 1
    try:
        os.setpgid(0, 0)
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, *_POLITE):
            signal.signal(number, signal.SIG_DFL)
        _die_with_parent()
        run(connection)
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
    """Linux: SIGKILL for this process when the fork server ends, even by force."""
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
        control.sendall(MESSAGE.pack(kind, pid, status))
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
