"""The figures of a replay for the logs, and those of all shards together."""

import math
from collections.abc import Mapping, Sequence

from reverie.replay.chunk import Layout
from reverie.replay.index import Index

_WEIGHTS = {
    "bytes_per_step": "steps",
    "online_share": "samples",
    "replay_ratio": "inserts",
    "priority_new": "items",
}
"""Figures that are no sums, and what each is weighted by."""


def of_one(
    index: Index, layout: Layout, counts: Mapping[str, float], streams: int
) -> dict[str, float]:
    """What `Replay.stats` tells, of a number of open streams."""
    table = index.table
    usage = [chunk.usage(layout) for chunk in table]
    ram = sum(size for size, _ in usage) + getattr(index.selector, "nbytes", 0)
    disk = sum(size for _, size in usage)
    return {
        "items": len(index.selector),
        "steps": table.steps,
        "chunks": len(table),
        "bytes": ram + disk,
        "bytes_per_step": (ram + disk) / max(1, table.steps),
        "ram_bytes": ram,
        "disk_bytes": disk,
        "inserts": counts["inserts"],
        "samples": counts["samples"],
        "online_share": counts["online"] / max(1, counts["samples"]),
        "online_queue": len(index.online),
        "replay_ratio": counts["replayed"] / max(1, counts["inserts"]),
        "missed_updates": counts["missed"],
        "damaged_chunks": counts["damaged"],
        "capacity": index.capacity,
        "streams": streams,
    } | (index.taking.stats() if index.taking else {})


def of_all(found: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Those of several replays as one: sums, and means of what is a share."""
    together: dict[str, float] = {}
    for key in found[0]:
        weight = _WEIGHTS.get(key, "samples" if key.startswith("share/") else "")
        values = [stats[key] for stats in found]
        sizes = [stats[weight] if weight else 1.0 for stats in found]
        total = math.fsum(value * size for value, size in zip(values, sizes, strict=True))
        together[key] = total / max(1, sum(sizes)) if weight else sum(values)
    return together
