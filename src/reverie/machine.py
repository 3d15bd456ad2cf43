"""What this machine, or the container on it, lets the process have."""

import os
from pathlib import Path

import psutil

_CGROUPS = Path("/sys/fs/cgroup")


def cores() -> int:
    """Processor cores that this process may use; of a container's share of time whole ones."""
    # Not everywhere can a process be bound to some of the cores.
    bound = hasattr(os, "sched_getaffinity")
    count = len(os.sched_getaffinity(0)) if bound else os.cpu_count() or 1
    return max(1, min([count, *_cpu_limits()]))


def available_ram() -> float:
    """Bytes of memory that can be used without swapping, within the limits of the container."""
    return min([float(psutil.virtual_memory().available), *_memory_limits()])


def _cpu_limits() -> list[int]:
    """Whole cores that each control group lets this process have; none where there are no limits.

    The system stops a process that has used up its time, however many cores it sees.
    """
    found = []
    for folder in _groups():
        try:
            quota, period = (folder / "cpu.max").read_text().split()
            found.append(int(quota) // int(period))
        except (OSError, ValueError):
            continue  # No such file, or the limit is the word "max".
    return found


def _memory_limits() -> list[float]:
    """What each control group leaves this process; none where there are no limits."""
    found = []
    for folder in _groups():
        try:
            limit = int((folder / "memory.max").read_text())
            used = int((folder / "memory.current").read_text())
            lines = (folder / "memory.stat").read_text().splitlines()
        except (OSError, ValueError):
            continue
        stat = dict(line.split() for line in lines)
        # The system drops cached files before it runs out of memory.
        cached = int(stat.get("active_file", 0)) + int(stat.get("inactive_file", 0))
        found.append(float(max(0, limit - used + cached)))
    return found


def _groups() -> list[Path]:
    """The control groups of this process: in a container the root, else its own and those above."""
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        lines = []
    names = [Path(line[3:].strip("/")) for line in lines if line.startswith("0::/")]
    own = [_CGROUPS / group for name in names for group in (name, *name.parents) if group.name]
    return [_CGROUPS, *own]
