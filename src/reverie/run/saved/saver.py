"""Writes what a run has reached while the run goes on."""

import concurrent.futures
import time
from collections.abc import Callable

from reverie.disk import DiskFullError, free_space
from reverie.run.saved.folder import RunFolder

LOOK_SECONDS = 1.0
"""How often the folder and the free space of its disk are looked at."""


class Saver:
    """Does one save at a time in a thread of its own, and keeps room on the disk for the next.

    Args:
        folder: Run folder.
        note: Receives a message when a save is durable, in the thread that calls `check`.
        reserve: Bytes that the next save may need, at most.
    """

    def __init__(self, folder: RunFolder, note: Callable[[str], None], reserve: int):
        self._folder = folder
        self._note = note
        self._reserve = reserve
        self._executor = concurrent.futures.ThreadPoolExecutor(1, "save")
        self._next_look = 0.0
        self._job: concurrent.futures.Future[None] | None = None
        self._message = ""

    @property
    def busy(self) -> bool:
        """Whether a save is under way, as far as `check` knows."""
        return self._job is not None

    def start(self, write: Callable[[], None], message: str) -> None:
        """Starts a save, after the one before.

        Raises:
            Exception: What the save before has raised.
        """
        self.wait()
        self._job, self._message = self._executor.submit(write), message

    def check(self) -> None:
        """Called once per step of the run.

        Raises:
            DiskFullError: If the disk has no more room than the next save needs.
            FolderGoneError: If the folder was moved or removed.
            Exception: What a save has raised.
        """
        if self._job is not None and self._job.done():
            self.wait()
        if time.monotonic() >= self._next_look:
            self._next_look = time.monotonic() + LOOK_SECONDS
            self._folder.check_kept()
            if free_space(self._folder.root) < self._reserve:
                raise DiskFullError.of(self._folder.root, self._reserve)

    def wait(self) -> None:
        """Returns when the save in progress, if there is one, is durable.

        Raises:
            Exception: What it has raised.
        """
        job, self._job = self._job, None
        if job is not None:
            job.result()
            self._note(self._message)

    def close(self) -> None:
        """Waits for the save in progress."""
        self._executor.shutdown(wait=True)
