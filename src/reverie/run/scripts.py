"""What the option `script` can name."""

from collections.abc import Sequence

from reverie.actors.collector import Collector
from reverie.config.errors import ConfigError
from reverie.config.schema import Config
from reverie.run.build import EnvSource
from reverie.run.eval_only import eval_only
from reverie.run.hooks import Hook
from reverie.run.result import Outcome
from reverie.run.train import train
from reverie.track.sinks.base import Sink

SINK_METHODS = ("write", "episode", "note", "close")
COLLECTOR_METHODS = ("collect", "set_params", "close")


def launch(
    config: Config,
    source: EnvSource | None = None,
    *,
    callbacks: Sequence[Hook] = (),
    sinks: Sequence[Sink] = (),
    collector: Collector | None = None,
) -> Outcome:
    """Does what `script` in the configuration says.

    Args:
        config: Resolved configuration.
        source: Where environments come from; the task of the configuration by default.
        callbacks: Called with the run after every step of the training loop.
        sinks: Outputs of metrics besides those of the configuration.
        collector: Makes the steps; by default environments of the source, with the policy.

    Raises:
        ConfigError: If a callback, sink or collector cannot be used as one, or there is no
            training loop.
    """
    if config.script == "eval_only":
        if callbacks or sinks or collector:
            raise ConfigError(
                "callbacks, sinks and collector belong to training, and script is eval_only."
            )
        return eval_only(config, source)
    _check(callbacks, sinks, collector)
    return train(config, source, callbacks=callbacks, sinks=sinks, collector=collector)


def _check(callbacks: Sequence[Hook], sinks: Sequence[Sink], collector: Collector | None) -> None:
    """Raises ConfigError if one of them cannot be used as such."""
    for callback in callbacks:
        if not callable(callback):
            raise ConfigError(
                f"callbacks has {callback!r} in it: expected functions that take the run, such as "
                "reverie.Every(60, function) or function."
            )
    for sink in sinks:
        missing = [name for name in SINK_METHODS if not callable(getattr(sink, name, None))]
        if missing:
            raise ConfigError(
                f"sinks has {sink!r} in it, without {', '.join(missing)}: expected objects with "
                f"the methods {', '.join(SINK_METHODS)}, see reverie.track.sinks.base them."
            )
    missing = [name for name in COLLECTOR_METHODS if not callable(getattr(collector, name, None))]
    if collector is not None and missing:
        raise ConfigError(
            f"collector is {collector!r}, without {', '.join(missing)}: expected an object with "
            f"the methods {', '.join(COLLECTOR_METHODS)}, as reverie.actors.collector describes."
        )
