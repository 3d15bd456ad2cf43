"""How glibc's malloc keeps memory in a process that trains."""

import contextlib
import ctypes
import os
from collections.abc import Iterator

# Names of options in glibc's malloc.h, and their defaults.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4
_DEFAULTS = (_MMAP_MAX, 65536), (_TRIM_THRESHOLD, 2**17), (_TOP_PAD, 2**17)


def keep_memory(needs: int) -> None:
    """Decides how updates use the heap, once they are compiled.

    glibc then keeps what small updates use, instead of mapping it anew each time: clearing the new
    pages takes a fifth of the processor time of a size1m update of vectors on a CPU. Large blocks
    break the heap into pieces, so that images would need 3.8 GB instead of 1.9.

    Threads keep heaps of their own: in the pieces that the compiler's leaves, updates of a small
    model would take a quarter longer.

    Where the environment of the process sets an option of these, all stay as they are.

    Args:
        needs: Bytes of the arrays and the working memory of an update.
    """
    _libc("malloc_trim", (0,))  # What compiling left in the heap: up to 0.9 GB.
    if needs < 2**28 and not _set_by_user():
        _libc("mallopt", (_MMAP_MAX, 0), (_TRIM_THRESHOLD, 2**31 - 1), (_TOP_PAD, 2**26))


@contextlib.contextmanager
def memory_given_back() -> Iterator[None]:
    """Behind it malloc has glibc's defaults again, and what was kept is the system's."""
    try:
        yield
    finally:
        if not _set_by_user():
            _libc("mallopt", *_DEFAULTS)
        _libc("malloc_trim", (0,))


def _set_by_user() -> bool:
    """Whether the process was started with a value of its own for an option that we would set."""
    tunables, names = (
        os.environ.get("GLIBC_TUNABLES", ""),
        ("trim_threshold", "top_pad", "mmap_max"),
    )
    return any(f"MALLOC_{x.upper()}_" in os.environ or f"malloc.{x}=" in tunables for x in names)


def _libc(name: str, *calls: tuple[int, ...]) -> None:
    with contextlib.suppress(OSError, AttributeError):  # Another C library.
        for values in calls:
            getattr(ctypes.CDLL("libc.so.6"), name)(*values)
