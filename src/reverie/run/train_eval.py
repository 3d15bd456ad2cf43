"""Training with evaluations in between."""

from collections.abc import Sequence

from reverie.actors.collector import Collector
from reverie.config import Config
from reverie.run.build import EnvSource
from reverie.run.hooks import Hook
from reverie.run.result import Outcome
from reverie.run.train import train
from reverie.track import Sink


def train_eval(
    config: Config,
    source: EnvSource | None = None,
    *,
    callbacks: Sequence[Hook] = (),
    sinks: Sequence[Sink] = (),
    collector: Collector | None = None,
) -> Outcome:
    """As `train`, and every `run.eval_every` seconds plays `run.eval_eps` evaluation episodes.

    They are logged as `eval/episode/...`, do not reach replay and use random keys of their own, so
    that training is the same with and without them.
    """
    return train(
        config, source, evaluation=True, callbacks=callbacks, sinks=sinks, collector=collector
    )
