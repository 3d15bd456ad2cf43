"""Files that are whole or not there, and a full disk told as what it is."""

import contextlib
import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path


class DiskFullError(OSError):
    """Something could not be written. What was saved before is whole and stays."""

    @classmethod
    def of(cls, folder: Path, needed: int = 0) -> "DiskFullError":
        """That of a folder, where so many bytes have no room, if their number is known."""
        wanted = f", and the next save may take {needed / 1e6:,.0f} MB" if needed else ""
        return cls(
            f"The disk is full: {folder} has {free_space(folder) / 1e6:,.0f} MB left{wanted}. What "
            "was saved before is whole. Free some space, or pass a lower --replay.size, and go on "
            "with the same command."
        )


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yields where to write a file, which then takes its place: nobody ever sees a part of it.

    Args:
        path: The file, in a folder that is made if need be. A link is replaced, not followed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.stem}.partial{path.suffix}")
    partial.unlink(missing_ok=True)
    try:
        yield partial
        sync(partial)
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def sync(path: Path) -> None:
    """Makes a file durable, or what was renamed and deleted in a folder."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        # Some file systems, such as shared folders of virtual machines, do so for files alone.
        if error.errno != errno.EINVAL or not path.is_dir():
            raise
    finally:
        os.close(handle)


def free_space(folder: Path) -> int:
    """Bytes that are free on the disk of a folder, which need not exist yet."""
    folder = folder.absolute()
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


@contextlib.contextmanager
def explain_full_disk(folder: Path) -> Iterator[None]:
    """Inside, an error that comes from a full disk is raised as a `DiskFullError`.

    Args:
        folder: Where something is written.
    """
    try:
        yield
    except DiskFullError:
        raise
    except Exception as error:
        if not is_full(error):
            raise
        raise DiskFullError.of(folder) from error


def is_full(error: BaseException | None) -> bool:
    """Whether an error, or what led to it, is one of a full disk or a used up quota."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        # Libraries that write from C++ tell the reason in their text alone.
        if "No space left on device" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False
