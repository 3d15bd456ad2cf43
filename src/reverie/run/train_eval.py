"""Training with evaluations in between."""

from reverie.config import Config
from reverie.run.build import EnvSource
from reverie.run.result import Outcome
from reverie.run.train import train


def train_eval(config: Config, source: EnvSource | None = None) -> Outcome:
    """As `train`, and every `run.eval_every` seconds plays `run.eval_eps` evaluation episodes.

    They are logged as `eval/episode/...`, do not reach replay and use random keys of their own, so
    that training is the same with and without them.
    """
    return train(config, source, evaluation=True)
