"""One process at a time may train in a run folder."""

import errno
import fcntl
import os
import pathlib
import socket
from types import TracebackType

_NAME = ".lock"
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}
"""What file systems answer that have no locks."""


class FolderInUseError(RuntimeError):
    """Another process trains in the run folder."""


class FolderLock:
    """While entered, keeps other processes from training in a run folder.

    The lock is held by an open file, so that the operating system releases it however the process
    ends. The file itself stays: removing it would let two processes hold locks on two files of the
    same name. On a file system without locks this does nothing.

    Args:
        root: Run folder, which exists.

    Raises:
        FolderInUseError: On entering, if another process holds the lock; the message names it.
    """

    def __init__(self, root: pathlib.Path):
        self._root = root
        self._file: int | None = None

    def __enter__(self) -> "FolderLock":
        # Python opens files so that child processes do not inherit them: workers that outlive
        # this process cannot keep the lock.
        self._file = os.open(self._root / _NAME, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            self._acquire(self._file)
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._close()

    def sign(self) -> None:
        """Writes down who has the lock, for those that are refused."""
        if self._file is not None:
            os.ftruncate(self._file, 0)
            name = f"process {os.getpid()} on {socket.gethostname()}\n"
            os.pwrite(self._file, name.encode(), 0)

    def _acquire(self, file: int) -> None:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(file, 1000, 0).decode(errors="replace").strip()
            raise FolderInUseError(
                f"Another run is training in {self._root}: {holder or 'an unknown process'}. Wait "
                "for it, stop it, or choose another logdir."
            ) from None
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise

    def _close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None
