"""What replay counts over a run."""

import dataclasses

from reverie.replay.files.storage import Storage
from reverie.replay.index import Index


@dataclasses.dataclass
class Counts:
    """Totals since the beginning of the run, saved with it.

    Attributes:
        inserts: Steps added.
        samples: Sequences drawn.
        online: Those of them that came from the online queue.
        replayed: Trained steps in the sequences drawn.
        missed: Steps that were evicted before their latents came back.
        damaged: Chunks that were left out when they were loaded.
    """

    inserts: int = 0
    samples: int = 0
    online: int = 0
    replayed: int = 0
    missed: int = 0
    damaged: int = 0

    def report(self, index: Index, storage: Storage) -> dict[str, float]:
        """The figures that `Replay.stats` describes, as far as they follow from these."""
        table = index.table
        usage = [storage.usage(chunk) for chunk in table]
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
            "inserts": self.inserts,
            "samples": self.samples,
            "online_share": self.online / max(1, self.samples),
            "online_queue": len(index.online),
            "replay_ratio": self.replayed / max(1, self.inserts),
            "missed_updates": self.missed,
            "damaged_chunks": self.damaged,
            "capacity": index.capacity,
        } | (index.taking.stats() if index.taking is not None else {})
