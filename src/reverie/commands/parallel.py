"""`reverie train` with script parallel: a supervisor, without the device library, and a learner.

The supervisor starts or joins Ray and owns the actors. The learner, a child process that trains
and has the terminal, finds them by name; when a signal ends it, such as that of the kernel where
memory runs out, it is started again, resumes from its checkpoint, and the actors go on. What is
sent to the supervisor is for the learner, which has a process group of its own, so that it gets it
once. When the supervisor disappears, the learner saves and ends.
"""

import contextlib
import dataclasses
import os
import signal
import stat
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection, Pipe
from typing import Any

from reverie.actors.cluster.engine.package import import_ray
from reverie.actors.cluster.fleet import Fleet, join_fleet, open_fleet
from reverie.commands.words import UsageError
from reverie.config.schema import Config, with_values
from reverie.envs.vector.processes import python
from reverie.envs.vector.restarts import Restarts
from reverie.track.sinks.terminal import say

_LEARNER = (
    "sys.argv[:] = ['reverie', '--learner', *sys.argv[1:]]; "
    "from reverie.cli import main; sys.exit(main())"
)


def supervise(config: Config) -> int:
    """Runs the learner until it ends by itself; returns its exit code.

    Raises:
        ClusterError: If Ray or its cluster cannot be used.
    """
    # Ray need not print that an actor has died: the learner does.
    os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", ".")
    import_ray(config.ray.address)
    # It imports while Ray starts.
    learner = _Learner()
    with learner.signals(), open_fleet(config.ray) as fleet:
        learner.install()  # Ray has taken them.
        restarts = Restarts.of(config.run, name="The learner", tell=say)
        while True:
            folder, code = learner.run(config, fleet)
            if code >= 0 or learner.asked:
                return code if code >= 0 else 128 - code
            died = f"The learner died with {signal.Signals(-code).name}."
            try:
                begin = time.monotonic() + restarts.allow(0, _LearnerError(died))
            except _LearnerError:
                return 128 - code
            while time.monotonic() < begin and not learner.asked:
                time.sleep(0.1)
            if not learner.asked:
                learner.start()
            if learner.asked:  # There was nobody to pass it on to.
                return 128 - code
            if folder:
                config = with_values(config, {"logdir": folder}, "the learner before")
            fleet = dataclasses.replace(fleet, notes=())


class _LearnerError(RuntimeError):
    reason = "died"


class _Learner:
    """The process that trains, and signals on their way to it."""

    def __init__(self):
        self.asked = False
        self._previous: dict[int, Any] = {}
        self.start()

    def start(self) -> None:
        """Starts it, or another one in its place."""
        self._ours, theirs = Pipe()
        with theirs:
            number = theirs.fileno()
            self._process = subprocess.Popen(
                python(_LEARNER, number), pass_fds=[number], process_group=0
            )

    def run(self, config: Config, fleet: Fleet) -> tuple[str, int]:
        """Lets it train until it ends; returns the run folder, if it was told, and its code."""
        folder = ""
        with contextlib.suppress(EOFError, OSError):
            self._ours.send((config, fleet.address, fleet.namespace, fleet.notes))
            while True:
                folder = self._ours.recv()
        return folder, self._process.wait()

    @contextlib.contextmanager
    def signals(self):
        """Passes signals on; at the end the learner has ended, or ends."""
        numbers = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGTSTP]
        for number in numbers:
            handler = signal.getsignal(number)
            if handler != signal.SIG_IGN:  # As under nohup.
                self._previous[number] = handler
        self.install()
        try:
            yield
        finally:
            self._ours.close()
            for number, handler in self._previous.items():
                signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def install(self) -> None:
        """Takes the signals, also from what has replaced the handlers."""
        for number in self._previous:
            signal.signal(number, self._pause if number == signal.SIGTSTP else self._pass_on)

    def _pass_on(self, number: int, frame: object) -> None:
        self.asked = True
        self._process.send_signal(number)

    def _pause(self, number: int, frame: object) -> None:
        self._process.send_signal(signal.SIGSTOP)
        os.kill(os.getpid(), signal.SIGSTOP)
        self._process.send_signal(signal.SIGCONT)  # Whoever stopped this process lets it go on.


def learn(words: Sequence[str], train: Callable[[Config, Fleet, Sequence[Any]], int]) -> int:
    """What the learner does; returns its exit code.

    Args:
        words: Number of the file that leads to the supervisor.
        train: Trains with callbacks on the steps of actors, and returns the exit code.

    Raises:
        UsageError: If there is no supervisor.
    """
    number = _number(words)
    # It writes to the terminal although the supervisor is in front.
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)
    os.set_inheritable(number, False)
    supervisor = Connection(number)
    try:
        config, address, namespace, notes = supervisor.recv()
    except EOFError:
        return 1
    threading.Thread(target=_follow, args=[supervisor], daemon=True).start()
    with join_fleet(address, namespace, config.ray, notes) as fleet:
        return train(config, fleet, [_told(supervisor)])


def _number(words: Sequence[str]) -> int:
    with contextlib.suppress(ValueError, OverflowError, OSError):
        (number,) = map(int, words)
        if stat.S_ISSOCK(os.fstat(number).st_mode):
            return number
    raise UsageError(
        "--learner is for script parallel, which starts its learner so: run `reverie train "
        "--configs ... parallel`."
    )


def _follow(supervisor: Connection) -> None:
    """Ends this process as by SIGTERM when the supervisor is gone."""
    with contextlib.suppress(EOFError, OSError):
        supervisor.recv()
    os.kill(os.getpid(), signal.SIGTERM)


def _told(supervisor: Connection) -> Any:
    """A callback that says once where the run is."""
    told = False

    def tell(run: Any) -> None:
        nonlocal told
        if not told:
            told = True
            with contextlib.suppress(OSError):
                supervisor.send(str(run.folder.root))

    return tell
