"""A shard as the learner sees it: what it is asked, what it has answered, and what if it dies."""

import collections
import dataclasses
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import ray
from ray import exceptions

from reverie.replay.chunk import OFFSET_BITS
from reverie.replay.shards.shard import Content, Opened, Shard

SERIAL_BITS, EPOCH_BITS, SHARD_BITS = 31, 6, 6
"""Of the id of a step: above the serial of its chunk and the offset stand epoch and shard."""

LOCAL_BITS = SERIAL_BITS + OFFSET_BITS

START_SECONDS = 120.0
"""How long Ray may take to start a shard again."""


class Gone(Exception):
    """A shard has died, hangs, or is not the one that was asked."""


@dataclasses.dataclass(frozen=True)
class _Entry:
    """What a shard that dies is given again."""

    number: int
    what: tuple[Any, ...]
    steps: int


class RemoteShard:
    """Asks a shard, which does one thing after another; may be used by several threads.

    Ray starts a shard that has died. It then loads what it has saved, and is given again what came
    later, as long as that is kept; all that follows has another epoch.

    Args:
        index: Number of the shard.
        make, place: As of `Shard`: paths and working folder are the place.
        home: A file that is in the run folder, and the folder of the shard.
        options: For Ray.
        timeout: Seconds after which a shard that does not answer is killed; None: never.
        kept: Most steps that are kept to be given again.

    Attributes:
        content: What it holds, as far as is known.
        allow: Returns the seconds until it may be started again, or raises.
        note: Receives messages for the user.
    """

    def __init__(
        self,
        index: int,
        make: bytes,
        *,
        place: tuple[Sequence[str], str],
        home: tuple[str, str],
        options: Mapping[str, Any],
        timeout: float | None,
        kept: int,
    ):
        actor: Any = ray.remote(max_restarts=-1, max_task_retries=0, **options)(Shard)
        self.index, self._handle = index, actor.remote(*place, make)
        self._home, self._timeout, self._most = home, timeout, kept
        self.content = Content()
        self.allow: Callable[[int, Exception], float] = lambda index, error: 0.0
        self.note: Callable[[str], object] = print
        self.lock = threading.RLock()
        self.epoch = 0
        self._mark = ""
        self._calls: collections.deque[Any] = collections.deque()
        # What it was sent since its last save.
        self._log: collections.deque[_Entry] = collections.deque()
        self._logged = self._kept = 0
        # The log begins with what follows the save, unless some of that was given up.
        self._durable, self._hole = 0, -1

    def tag(self, epoch: int) -> int:
        """Stands in front of the ids of steps."""
        return self.index << EPOCH_BITS | epoch & ((1 << EPOCH_BITS) - 1)

    def open(self, mark: str) -> Callable[[], Opened]:
        """Lets it begin with what it has saved; what is returned waits for that."""
        self.epoch += 1
        self._mark, self._durable = mark, self._logged
        self._log.clear()
        self._kept = 0
        call = self._handle.open.remote(self.epoch, *self._home, mark)

        def opened() -> Opened:
            found = self._get(call, None)
            self.content = found.content
            return found

        return opened

    def ask(self, what: str, *args: Any) -> tuple[int, Any]:
        """Has something done; returns the epoch, and the call for `get`."""
        with self.lock:
            return self.epoch, self._handle.do.remote(self.epoch, what, *args)

    def get(self, call: Any) -> Any:
        """What it has answered.

        Raises:
            Gone: If it is dead, or hangs; then it is killed.
            Exception: What it has raised.
        """
        return self._get(call, self._timeout)

    def _get(self, call: Any, timeout: float | None) -> Any:
        try:
            found = ray.get(call, timeout=timeout)
        except exceptions.RayTaskError as error:
            raise (error.cause if isinstance(error.cause, Exception) else error) from None
        except exceptions.GetTimeoutError:
            ray.kill(self._handle, no_restart=False)
            raise Gone(f"It gave no answer for {timeout:g} seconds.") from None
        except exceptions.RayActorError as error:
            raise Gone(str(error).strip().partition("\n")[0]) from None
        if found is None:
            raise Gone("Its process is another one now.")
        return found

    def send(self, what: str, *args: Any) -> None:
        """Has something done; its answer, the new content, is taken by `look`."""
        with self.lock:
            self._calls.append(self.ask(what, *args)[1])

    def log(self, steps: int, *what: Any) -> None:
        """As `send`, of what it is to be given again if it dies before it has saved it."""
        with self.lock:
            self._log.append(_Entry(self._logged, what, steps))
            self._logged += 1
            self._kept += steps
            while self._kept > self._most and len(self._log) > 1:
                entry = self._log.popleft()
                self._kept -= entry.steps
                self._hole = entry.number
            self.send(*what)

    def look(self, most: int) -> None:
        """Takes what it has answered; waits while more than `most` calls are not."""
        with self.lock:
            while self._calls:
                late = len(self._calls) > most
                if not late and not ray.wait([self._calls[0]], timeout=0)[0]:
                    return
                epoch = self.epoch
                try:
                    self.content = self.get(self._calls.popleft())
                except Gone as error:
                    self.recover(epoch, error)
                except exceptions.ObjectLostError:
                    self.note("The node of an actor was lost with steps that replay had not got.")

    def begin_save(self, mark: str) -> Callable[[], None]:
        """Lets it save; what is returned waits until that is durable."""
        with self.lock:
            self.look(len(self._calls))
            logged, (epoch, call) = self._logged, self.ask("save", self._home[1], mark)

        def wait() -> None:
            asked = epoch, call, mark
            while True:
                try:
                    self.get(asked[1])
                    # Of the epoch that began it: another one saves nothing, and would never end.
                    while not self.get(self._handle.do.remote(asked[0], "saved")):
                        time.sleep(0.02)
                    break
                except Gone as error:
                    self.recover(asked[0], error)
                    # It holds later steps by now, so that no checkpoint goes on from it exactly.
                    asked = *self.ask("save", self._home[1], ""), ""
            self._saved(asked[0], logged, asked[2])

        return wait

    def kill(self) -> None:
        """Ends it."""
        ray.kill(self._handle)

    def recover(self, epoch: int, error: Exception) -> None:
        """Lets it go on from what it has saved, unless another thread has done so.

        Raises:
            Exception: If it has died too often, or does not start.
        """
        with self.lock:
            if self.epoch != epoch:
                return
            reason = ShardError(f"Replay shard {self.index} is gone: {error}")
            time.sleep(self.allow(self.index, reason))
            before, self.epoch = self.content.inserts, self.epoch + 1
            self._calls.clear()
            opened = self._opened_again()
            self.content = opened.content
            again = self._given_again(opened)
            self.look(0)
            lost = max(0, before - self.content.inserts)
            self.note(
                f"Replay shard {self.index} goes on with {self.content.items:,} sequences: "
                f"{again:,} steps that it had not saved were given to it again, and up to {lost:,} "
                "are lost."
            )

    def _opened_again(self) -> Opened:
        end = time.monotonic() + START_SECONDS
        while True:
            try:
                # As long as it takes to load.
                call = self._handle.open.remote(self.epoch, *self._home, self._mark)
                return self._get(call, None)
            except Gone:  # Ray is not done with starting it.
                if time.monotonic() > end:
                    raise
                time.sleep(0.2)

    def _given_again(self, opened: Opened) -> int:
        """Sends again what it has not; returns the number of steps."""
        loaded = opened.loaded
        if loaded and loaded.steps and not loaded.exact:
            # Its files hold some of that, and nobody knows which.
            self._hole, self._kept = self._logged - 1, 0
            self._log.clear()
            return 0
        if self._hole >= self._durable:
            for stream in opened.streams:
                self.send("end", stream)
        for entry in self._log:
            self.send(*entry.what)
        return self._kept

    def _saved(self, epoch: int, logged: int, mark: str) -> None:
        """Forgets what it has saved."""
        with self.lock:
            if self.epoch == epoch:
                self._mark, self._durable = mark, logged
                while self._log and self._log[0].number < logged:
                    self._kept -= self._log.popleft().steps


class ShardError(RuntimeError):
    """What became of a shard."""
