"""Makes the C allocator keep memory between updates."""

import contextlib
import ctypes
import mmap
import pathlib
import sys

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX, _ARENA_MAX = -1, -2, -4, -8
_LARGEST = 2**31 - 1
_SPARE = 2**28


def release_memory() -> None:
    """Returns what was freed so far to the system, once, whatever `keep_memory` has set."""
    with contextlib.suppress(OSError, AttributeError):  # Not glibc: nothing was kept either.
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def keep_memory() -> bool:
    """Tells glibc not to return freed memory to the system, and to use huge pages.

    On CPU, XLA allocates the working memory of an update anew each time. By default glibc maps
    such large blocks from the system and unmaps them at once, so that every update begins with
    clearing hundreds of megabytes page by page (100,000 page faults at size1m). Here they stay in
    the heap, which is extended by 2 GiB of address space (not of memory) at once and backed by
    huge pages where the system offers them.

    Returns:
        Whether the allocator took the settings; elsewhere than on Linux with glibc it does not.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        libc = ctypes.CDLL("libc.so.6")
        mallopt = libc.mallopt
    except (OSError, AttributeError):  # Another C library: nothing to tune, nothing lost.
        return False
    settings = (
        (_MMAP_MAX, 0),
        (_TRIM_THRESHOLD, _LARGEST),
        (_ARENA_MAX, 1),
        (_TOP_PAD, _LARGEST),
    )
    results = [mallopt(key, value) for key, value in settings]
    libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    libc.free.argtypes = [ctypes.c_void_p]
    spare = libc.malloc(_SPARE)  # Larger than what is free in the heap, so that it grows now.
    libc.malloc(1)  # Stays, so that the gap does not become one with the free end of the heap.
    libc.free(spare)
    for start, end in _heap():
        # An unsuccessful advice changes nothing, so its result does not matter.
        libc.madvise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), mmap.MADV_HUGEPAGE)
    return all(results)


def _heap() -> list[tuple[int, int]]:
    """Address ranges of this process's heap."""
    lines = pathlib.Path("/proc/self/maps").read_text().splitlines()
    ranges = (line.split()[0].split("-") for line in lines if line.endswith("[heap]"))
    return [(int(start, 16), int(end, 16)) for start, end in ranges]
