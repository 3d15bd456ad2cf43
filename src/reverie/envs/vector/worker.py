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

A worker, `run`, is sent how to build its environment and answers with the spaces; then it is sent
one message for each reset and step, which it answers with the results, or with what the environment
raised.
"""

import contextlib
import ctypes
import os
import pickle
import random
import signal
import socket
import struct
import sys
import traceback
from collections.abc import Iterator
from multiprocessing.connection import Connection, wait
from typing import Any

import cloudpickle
import gymnasium
import numpy as np

from reverie.envs.errors import raised
from reverie.envs.probe import probe
from reverie.envs.vector.local import build, play

LENGTH = struct.Struct("!Q")
"""In front of each answer: so many bytes follow."""

importing = False
"""Whether this process is importing the module of its environment."""

_PR_SET_PDEATHSIG = 1
_POLITE = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def run(connection: Connection) -> None:
    """Serves one environment until the parent closes it, and tells whatever it raises."""
    global importing
    env = None
    try:
        pickled, seed = connection.recv()
        # Forked siblings share the state of the global generators until they are seeded apart.
        random.seed(seed)
        np.random.seed(seed)
        importing = True
        factory = pickle.loads(pickled)
        importing = False
        env = build(factory)
        try:
            _serve(connection, env)
        finally:
            env.close()
    except (Exception, SystemExit) as error:
        summary = raised(error, env.get_wrapper_attr("steps") if env else 0)
        # When the parent has ended, there is nobody left who could be told.
        with contextlib.suppress(ConnectionError):
            _answer(connection, "raised", summary, traceback.format_exc())


def _serve(connection: Connection, env: gymnasium.Env) -> None:
    """Tells the spaces, then resets and steps on request."""
    # Spaces of the user's own may be of classes that travel by cloudpickle alone.
    seen = cloudpickle.dumps(probe(env))
    answer: Any = env.observation_space, env.action_space, seen
    while True:
        _answer(connection, "done", answer)
        if (request := connection.recv()) is None:
            return
        answer = play(env, *request)


def _answer(connection: Connection, *answer: Any) -> None:
    data = pickle.dumps(answer)
    left = memoryview(LENGTH.pack(len(data)) + data)
    while left:
        left = left[os.write(connection.fileno(), left) :]


def main(control_end: int, messages_end: int) -> None:
    """The server's own loop; runs until the trainer closes the connection, then kills all.

    Args:
        control_end: Socket through which the trainer sends the connections of new workers.
        messages_end: Pipe for the ids of processes that have started and ended.
    """
    control = socket.socket(fileno=control_end)
    messages = Connection(messages_end, readable=False)
    wake_read, wake_write = socket.socketpair()
    wake_read.setblocking(False)
    wake_write.setblocking(False)
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    # Whoever ends all processes at once, as clusters do, leaves it to the trainer to save first.
    for number in _POLITE:
        signal.signal(number, signal.SIG_IGN)
    signal.set_wakeup_fd(wake_write.fileno())
    workers: set[int] = set()
    while True:
        ready = wait([control, wake_read])
        if wake_read in ready:
            wake_read.recv(4096)
            for pid, status in _reap():
                workers.discard(pid)
                _tell(messages, workers, pid, status)
        if control in ready:
            try:
                request, fds, _, _ = socket.recv_fds(control, 1, 1)
            except ConnectionResetError:
                request, fds = b"", []
            if not request:
                _kill_all(workers)
            # What an environment starts must not hold the connection open when the worker dies.
            os.set_inheritable(fds[0], False)
            pid = os.fork()
            if pid == 0:
                for end in (control, messages, wake_read, wake_write):
                    end.close()
                _become_worker(Connection(fds[0]))
            os.close(fds[0])
            workers.add(pid)
            _tell(messages, workers, pid, None)


def _become_worker(connection: Connection) -> None:
    """Runs a worker in the forked child and ends the child, whatever happens."""
    code = 1
    try:
        os.setpgid(0, 0)
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, *_POLITE):
            signal.signal(number, signal.SIG_DFL)
        if sys.platform == "linux":  # SIGKILL for this process when the server ends, even by force.
            ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
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


def _reap() -> Iterator[tuple[int, int]]:
    """Process id and wait status of the workers that have ended; kills what they had started."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if not pid:
            return
        # As long as anything that it has started lives, no new process can get its number.
        _kill_group(pid)
        yield pid, status


def _tell(messages: Connection, workers: set[int], pid: int, status: int | None) -> None:
    try:
        messages.send((pid, status))
    except ConnectionError:
        _kill_all(workers)


def _kill_all(workers: set[int]) -> None:
    """Ends the workers, what they have started, and this process."""
    for pid in workers:
        _kill_group(pid)
        # A worker that was forked a moment ago leads no group yet.
        os.kill(pid, signal.SIGKILL)
    os.killpg(0, signal.SIGKILL)


def _kill_group(pid: int) -> None:
    # macOS forbids it where all of a group have ended and nobody has waited for them yet.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
