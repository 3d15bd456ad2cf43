"""The parent's side of one environment process."""

import contextlib
import math
import socket
from collections.abc import Callable
from typing import Any

import cloudpickle
import gymnasium

from reverie.envs import shared, wire
from reverie.envs.errors import Cancelled, WorkerError
from reverie.envs.nursery import Nursery, describe_exit
from reverie.envs.restarts import TICK

EXIT_SECONDS = 2.0


class Patience:
    """How long to wait for the answers to a request that several processes got at once.

    Time is counted in ticks of the waiting itself, not by the clock: while this process is
    suspended its environments are too, and must not count as hung afterwards.

    Args:
        seconds: Time for all answers together; None waits for ever.
        cancelled: Whether waiting is in vain.
    """

    def __init__(self, seconds: float | None, cancelled: Callable[[], bool] = lambda: False):
        self.seconds = seconds
        self._cancelled = cancelled
        self._left = math.inf if seconds is None else math.ceil(seconds / tick(seconds))

    def spend(self) -> None:
        """Takes note that a tick has passed in vain.

        Raises:
            TimeoutError: If that was the last one.
            Cancelled: If the run is to end.
        """
        self._left -= 1
        if self._cancelled():
            raise Cancelled("Waiting for an environment was cancelled.")
        if self._left <= 0:
            raise TimeoutError


def tick(seconds: float | None) -> float:
    """Length of a tick when this is the whole time."""
    return TICK if seconds is None else min(TICK, seconds)


class RemoteEnv:
    """One environment process, requests to it and its answers.

    Args:
        index: Number of the environment.
        nursery: Starts the process.
        factory: Makes the environment there.
        seed: Seed of the global random generators there.
        timeout: Seconds that an answer may take, which sets the tick of the waiting.
    """

    def __init__(
        self,
        index: int,
        nursery: Nursery,
        factory: Callable[[], gymnasium.Env],
        seed: int,
        timeout: float | None,
    ):
        self._index = index
        self._nursery = nursery
        self.pid, self._sock = nursery.start()
        self._fd = self._sock.fileno()
        wire.set_time_limit(self._sock, tick(timeout))
        # A worker that has died is reported by the next answer, here and below.
        with contextlib.suppress(wire.Gone):
            wire.send_object(self._sock, wire.LOAD, (cloudpickle.dumps(factory), seed))

    def share(self, block: int, layout: shared.Layout) -> None:
        """Hands the shared memory over."""
        with contextlib.suppress(wire.Gone, BrokenPipeError, ConnectionResetError):
            socket.send_fds(self._sock, [wire.MEMORY], [block])
            wire.send_object(self._sock, b"", (layout, self._index))

    def send(self, tag: bytes, body: bytes = b"") -> None:
        """Requests something."""
        try:
            wire.send(self._sock, tag, body)
        except wire.Gone:
            return

    def answer(self, patience: Patience) -> Any:
        """Waits for a request to be done.

        Returns:
            The spaces once the environment is built; after that the logs of a step, if any.

        Raises:
            WorkerError: The environment raised, died or hung.
            Cancelled: If the run is to end.
        """
        try:
            tag = wire.receive(self._fd, 1, patience.spend)
            if tag == wire.DONE:
                return {}
            payload = wire.receive_object(self._fd, patience.spend)
        except TimeoutError as error:
            self.kill()
            raise self._hung(patience.seconds) from error
        except wire.Gone as error:
            raise self._died() from error
        if tag == wire.RAISED:
            raise self._raised(*payload)
        return payload

    def kill(self) -> None:
        """Ends the process by force and waits for that."""
        self._nursery.kill(self.pid)
        self._nursery.exit_code(self.pid, EXIT_SECONDS)

    def close(self) -> None:
        """Lets the environment close itself, after which the process ends."""
        if self._sock.fileno() >= 0:
            self.send(wire.CLOSE)
            self._sock.close()

    def _hung(self, seconds: float | None) -> WorkerError:
        return WorkerError(
            self._index,
            "hung",
            f"Environment {self._index} did not answer within {seconds:g} seconds, so its process "
            "was killed. Raise run.env_timeout if it may take that long.",
        )

    def _died(self) -> WorkerError:
        code = describe_exit(self._nursery.exit_code(self.pid, EXIT_SECONDS))
        return WorkerError(
            self._index,
            "died",
            f"The process of environment {self._index} died with {code}. Its last messages, if "
            "any, are on the standard error output.",
        )

    def _raised(self, summary: str, trace: str) -> WorkerError:
        return WorkerError(
            self._index,
            "raised",
            f"Environment {self._index} raised {summary}\n\nIn its process:\n{trace}",
            trace,
        )
