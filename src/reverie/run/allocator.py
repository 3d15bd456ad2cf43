"""How glibc's malloc keeps memory in the process of the command."""

import contextlib
import ctypes

from reverie.run.hooks import Hook
from reverie.run.parts.state import Run

# Names of options in glibc's malloc.h.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4


def memory_keeper() -> Hook:
    """A callback that keeps the memory of updates once it is known what they need."""
    decided = False

    def decide(run: Run) -> None:
        nonlocal decided
        if decided or not run.learner or not (needs := run.learner.memory_needs().get("train")):
            return
        decided = True
        keep_memory(needs)

    return decide


def keep_memory(needs: int) -> None:
    """Decides how updates use the heap, once they are compiled.

    glibc then keeps what small updates use, instead of mapping it anew each time: clearing the new
    pages takes a fifth of the processor time of a size1m update of vectors on a CPU. Large blocks
    break the heap into pieces, so that images would need 3.8 GB instead of 1.9.

    Threads keep heaps of their own: in the pieces that the compiler's leaves, updates of a small
    model would take a quarter longer.

    Args:
        needs: Bytes of the arrays and the working memory of an update.
    """
    _libc("malloc_trim", (0,))  # What compiling left in the heap: up to 0.9 GB.
    if needs < 2**28:
        _libc("mallopt", (_MMAP_MAX, 0), (_TRIM_THRESHOLD, 2**31 - 1), (_TOP_PAD, 2**26))


def _libc(name: str, *calls: tuple[int, ...]) -> None:
    with contextlib.suppress(OSError, AttributeError):  # Another C library.
        for values in calls:
            getattr(ctypes.CDLL("libc.so.6"), name)(*values)
