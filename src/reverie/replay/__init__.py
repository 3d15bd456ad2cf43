"""Experience replay: streams of steps in chunks, sequences out of them, and prefetched batches.

`Replay` stores transitions and hands out sequences, `Batches` prefetches them as training batches.
Nothing here imports jax. The names are for users; `as` tells type checkers that they are.
"""

from reverie.replay.batches import Batches as Batches
from reverie.replay.batches import Sample as Sample
from reverie.replay.replay import Replay as Replay
from reverie.replay.selectors.base import Selector as Selector
from reverie.replay.selectors.mixture import Mixture as Mixture
from reverie.replay.selectors.prioritized import Prioritized as Prioritized
from reverie.replay.selectors.recency import Recency as Recency
from reverie.replay.selectors.uniform import Uniform as Uniform
