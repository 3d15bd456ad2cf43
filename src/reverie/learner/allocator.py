"""Makes the C allocator keep memory between updates."""

import ctypes
import sys

_TRIM_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -4, -8


def keep_memory() -> bool:
    """Tells glibc not to return freed memory to the system.

    On CPU, XLA allocates the working memory of an update anew each time. By default glibc maps
    such large blocks from the system and unmaps them at once, so that every update begins with
    clearing hundreds of megabytes page by page (100,000 page faults at size1m).

    Returns:
        Whether the allocator took the settings; elsewhere than on Linux with glibc it does not.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):  # Another C library: nothing to tune, nothing lost.
        return False
    settings = ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, 2**31 - 1), (_ARENA_MAX, 1))
    return all([mallopt(key, value) for key, value in settings])
