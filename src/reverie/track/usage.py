"""What the run takes of the machine."""

import contextlib
import functools
import os

import psutil

GIGABYTE = 2**30


def usage() -> dict[str, float]:
    """Measures memory and processor use; takes a few milliseconds.

    Returns:
        `usage/rss_gb`: resident memory of this process in GiB.
        `usage/workers_rss_gb`: of its child processes, such as environment workers; pages that
        processes share count for each of them.
        `usage/workers`: number of child processes.
        `usage/threads`: number of threads of this process.
        `usage/cpu_percent`: processor time of this process since the last call, where 100 is one
        core kept busy; 0 on the first call.
        `usage/ram_percent`: share of the machine's memory that is in use, by anybody.
    """
    process = _process(os.getpid())
    workers = []
    for child in process.children(recursive=True):
        # A worker may end between being listed and being asked.
        with contextlib.suppress(psutil.NoSuchProcess):
            workers.append(child.memory_info().rss)
    return {
        "usage/rss_gb": process.memory_info().rss / GIGABYTE,
        "usage/workers_rss_gb": sum(workers) / GIGABYTE,
        "usage/workers": len(workers),
        "usage/threads": process.num_threads(),
        "usage/cpu_percent": process.cpu_percent(),
        "usage/ram_percent": psutil.virtual_memory().percent,
    }


@functools.cache
def _process(pid: int) -> psutil.Process:
    """The process object, which remembers the processor time of the last call."""
    return psutil.Process(pid)
