"""Whole runs: training, evaluation, and what they are built from."""

from reverie.config import Config
from reverie.run.build import EnvSource
from reverie.run.eval_only import eval_only
from reverie.run.result import Evaluation, Outcome
from reverie.run.train import train
from reverie.run.train_eval import train_eval

__all__ = ["EnvSource", "Evaluation", "Outcome", "eval_only", "launch", "train", "train_eval"]

_SCRIPTS = {"train": train, "train_eval": train_eval, "eval_only": eval_only}


def launch(config: Config, source: EnvSource | None = None) -> Outcome:
    """Does what `script` in the configuration says."""
    return _SCRIPTS[config.script](config, source)
