"""Experience replay: streams of steps in chunks, sequences out of them, and prefetched batches.

`Replay` stores transitions and hands out sequences, `Batches` prefetches them as training batches.
Nothing here imports jax. The names are for users; `as` tells type checkers that they are.
"""

from reverie.replay.batches import Batches as Batches
from reverie.replay.batches import Sample as Sample
from reverie.replay.budget import Budget as Budget
from reverie.replay.budget import BudgetError as BudgetError
from reverie.replay.budget import choose_budget as choose_budget
from reverie.replay.budget import estimate_budget as estimate_budget
from reverie.replay.chunk import Layout as Layout
from reverie.replay.files.archive import Saving as Saving
from reverie.replay.files.format import DamagedFile as DamagedFile
from reverie.replay.files.format import MissingCodecError as MissingCodecError
from reverie.replay.files.format import check_codec as check_codec
from reverie.replay.files.restore import Loaded as Loaded
from reverie.replay.files.storage import DiskStorage as DiskStorage
from reverie.replay.files.storage import RamStorage as RamStorage
from reverie.replay.plan import Plan as Plan
from reverie.replay.replay import Replay as Replay
from reverie.replay.selectors.base import Selector as Selector
from reverie.replay.selectors.mixture import Mixture as Mixture
from reverie.replay.selectors.prioritized import Prioritized as Prioritized
from reverie.replay.selectors.recency import Recency as Recency
from reverie.replay.selectors.uniform import Uniform as Uniform
