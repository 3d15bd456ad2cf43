"""Experience replay: streams of steps in chunks, sequences out of them, and prefetched batches.

`Replay` stores transitions and hands out sequences, `Batches` prefetches them as training batches.
Nothing here imports jax.
"""

from reverie.replay.batches import Batches, Sample
from reverie.replay.budget import Budget, BudgetError, choose_budget, estimate_budget
from reverie.replay.chunk import Layout
from reverie.replay.files.archive import Saving
from reverie.replay.files.format import DamagedFile, MissingCodecError, check_codec
from reverie.replay.files.restore import Loaded
from reverie.replay.files.storage import DiskStorage, RamStorage
from reverie.replay.plan import Plan
from reverie.replay.replay import Replay
from reverie.replay.selectors.base import Selector
from reverie.replay.selectors.mixture import Mixture
from reverie.replay.selectors.prioritized import Prioritized
from reverie.replay.selectors.recency import Recency
from reverie.replay.selectors.uniform import Uniform

__all__ = [
    "Batches",
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
    "Uniform",
    "check_codec",
    "choose_budget",
    "estimate_budget",
]
