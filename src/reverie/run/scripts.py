"""What the option `script` can name."""

import contextlib
from collections.abc import Sequence

from reverie.actors.cluster.fleet import Fleet, open_fleet
from reverie.actors.collector import Collector
from reverie.config.schema import Config
from reverie.envs.vector import worker
from reverie.errors import ConfigError
from reverie.run.environments.source import EnvSource
from reverie.run.eval_only import eval_only
from reverie.run.hooks import Hook
from reverie.run.saved.result import Outcome
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
    fleet: Fleet | None = None,
) -> Outcome:
    """Does what `script` in the configuration says.

    The arguments are those of `train`; script parallel opens its actors here if none are given.

    Raises:
        ConfigError: If a callback, sink or collector cannot be used as one, there is no training
            loop, or a process of an environment gets here by importing its module.
    """
    if worker.importing:
        raise ConfigError(
            "The module of the environment trains when it is imported, and so would every process "
            "of an environment. Put that below the line if __name__ == '__main__': of the module."
        )
    if config.script == "eval_only":
        if callbacks or sinks or collector:
            raise ConfigError(
                "callbacks, sinks and collector belong to training, and script is eval_only."
            )
        return eval_only(config, source)
    _check(callbacks, sinks, collector)
    if config.script != "parallel":
        return train(config, source, callbacks=callbacks, sinks=sinks, collector=collector)
    if collector is not None:
        raise ConfigError(
            "Steps come from actors in script parallel, and here from a collector as well: leave "
            "collector out, or set script to train."
        )
    with contextlib.nullcontext(fleet) if fleet else open_fleet(config.ray) as fleet:
        return train(config, source, callbacks=callbacks, sinks=sinks, fleet=fleet)


def _check(callbacks: Sequence[Hook], sinks: Sequence[Sink], collector: Collector | None) -> None:
    """Raises ConfigError if one of them cannot be used as such."""
    for name, given in (("callbacks", callbacks), ("sinks", sinks)):
        if not isinstance(given, Sequence):
            raise ConfigError(f"{name} is {given!r}: expected a list, such as {name}=[mine].")
    for callback in callbacks:
        if not callable(callback):
            raise ConfigError(
                f"callbacks has {callback!r} in it: expected functions that take the run, such as "
                "reverie.Every(60, function) or function."
            )
    for sink in sinks:
        _need(f"sinks has {sink!r} in it", sink, SINK_METHODS, "reverie.track.sinks.base")
    if collector is not None:
        what = f"collector is {collector!r}"
        _need(what, collector, COLLECTOR_METHODS, "reverie.actors.collector")


def _need(what: str, value: object, methods: Sequence[str], where: str) -> None:
    missing = [name for name in methods if not callable(getattr(value, name, None))]
    if missing:
        raise ConfigError(
            f"{what}, without {', '.join(missing)}: expected an object with the methods "
            f"{', '.join(methods)}, as {where} describes."
        )
