"""Facts about this machine and this process."""

import importlib.metadata
import os
import pathlib
import platform
import sys
from typing import Any


def describe_machine() -> dict[str, Any]:
    """What the results depend on, besides the program.

    Returns:
        `cpu` (model), `cores` (that this process may use), `load` (processes that wanted to run, on
        average over the last minute; None where unknown), `system`, and versions.
    """
    return {
        "cpu": cpu_model(),
        "cores": len(cores()),
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "reverie": importlib.metadata.version("reverie"),
        "jax": importlib.metadata.version("jax"),
        "jaxlib": importlib.metadata.version("jaxlib"),
    }


def cpu_model() -> str:
    """Name of the processor."""
    info = pathlib.Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "") or platform.processor() or platform.machine()


def cores() -> set[int]:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return set(os.sched_getaffinity(0))
    return set(range(os.cpu_count() or 1))


def bind_to_one_core() -> int | None:
    """Lets this process use one core only; call it before JAX starts its threads.

    Returns:
        The core, or None where the system does not offer this.
    """
    if not hasattr(os, "sched_setaffinity"):
        return None
    core = max(cores())
    os.sched_setaffinity(0, {core})
    return core


def peak_memory() -> int:
    """Most resident memory that this process had so far, in bytes."""
    status = pathlib.Path("/proc/self/status")
    if status.exists():
        # Not getrusage: on Linux its maximum begins with the memory of the parent process.
        lines = status.read_text().splitlines()
        (line,) = (line for line in lines if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
