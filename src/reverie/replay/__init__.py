"""Experience replay: streams of steps in chunks, sequences out of them, and prefetched batches.

`Replay` stores transitions and hands out sequences, `Stream` prefetches them as training batches.
Nothing here imports jax.
"""

from reverie.replay.archive import Saving
from reverie.replay.budget import Budget, BudgetError, choose_budget, estimate_budget
from reverie.replay.buffer import Replay
from reverie.replay.codec import MissingCodecError, check_codec
from reverie.replay.disk import DiskStorage
from reverie.replay.mixture import Mixture
from reverie.replay.plan import Plan
from reverie.replay.prioritized import Prioritized
from reverie.replay.ram import RamStorage
from reverie.replay.recency import Recency
from reverie.replay.record import DamagedFile
from reverie.replay.restore import Loaded
from reverie.replay.selectors import Selector, Uniform
from reverie.replay.storage import Layout
from reverie.replay.stream import Sample, Stream

__all__ = [
    "Budget",
    "BudgetError",
    "DamagedFile",
    "DiskStorage",
    "Layout",
    "Loaded",
    "MissingCodecError",
    "Mixture",
    "Plan",
    "Prioritized",
    "RamStorage",
    "Recency",
    "Replay",
    "Sample",
    "Saving",
    "Selector",
    "Stream",
    "Uniform",
    "check_codec",
    "choose_budget",
    "estimate_budget",
]
