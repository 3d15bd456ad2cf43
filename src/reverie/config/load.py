"""Loading: defaults of the schema, then blocks in the order given, then overrides, then flags."""

import dataclasses
import datetime
import os
import pathlib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from reverie.config.checks import check
from reverie.config.nearest import shorten, suggestion
from reverie.config.overlay import Overlay
from reverie.config.presets import presets
from reverie.config.saved_runs.foreign import SavedRun, read_run
from reverie.config.schema import Config, task_name
from reverie.config.syntax import flags, yaml_text
from reverie.config.syntax.keys import leaves
from reverie.errors import ConfigError

RUN_CONFIG = "config.yaml"
"""Name of the resolved configuration in a run folder."""

STAMP = "{timestamp}"
"""In a logdir: the time of the start. The folder of such a run is always a new one."""

Configs = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]
"""Names of preset blocks, divided by commas where they are one text, and paths of yaml files."""


def load(
    argv: Sequence[str] | None = None,
    *,
    configs: Configs = (),
    overrides: Mapping[str, Any] | None = None,
    saved: SavedRun | None = None,
    now: datetime.datetime | None = None,
    expand: bool = True,
) -> Config:
    """Resolve a configuration and check it.

    Later layers win: defaults, the blocks of `configs`, the blocks of `--configs`, `overrides`,
    the flags. Keys are full dotted paths or regular expressions that match whole paths.

    Args:
        argv: Command-line words, for example `["--configs", "crafter", "size12m",
            "--run.train_ratio", "64"]`. None: no flags.
        configs: Names of preset blocks, or yaml files (`.yaml`, `.yml`) that hold options.
        overrides: Options as nested mappings or dotted keys.
        saved: A run whose options lie below all of these.
        now: Time that `{timestamp}` in the logdir becomes; None: the present local time.
        expand: Whether to replace `{timestamp}` and `~` in paths; without it the result is to be
            printed and loaded again, not to be run.

    Returns:
        The checked configuration; `describe` tells where each value came from.

    Raises:
        ConfigError: Unknown blocks or keys, invalid values, or options that do not fit together.
    """
    names, _ = flags.split(argv or ())
    known = presets()
    overlay = Overlay()
    if saved:
        overlay.update(saved.options, saved.source)
    for name in (*_names(configs), *names):
        overlay.update(*_layer(name, known))
    _set(overlay, argv, overrides)
    _fill_in(overlay, now or datetime.datetime.now() if expand else None)
    config = overlay.config()
    check(config)
    return config


def load_run(
    argv: Sequence[str] | None = None,
    *,
    configs: Configs = (),
    overrides: Mapping[str, Any] | None = None,
    trust: bool = False,
) -> Config:
    """Resolve the configuration of a run that may have begun already.

    As `load`, but a run in `logdir` goes on with its saved configuration, under the overrides and
    flags, when no blocks are given and no task or its own.

    The arguments are those of `load`, and whether to trust a run folder that was made elsewhere, so
    that it may name code.

    Raises:
        ConfigError: As in `load`; or the run folder names code and was made elsewhere.
    """
    names, given = flags.split(argv or ())
    saved = None
    if not _names(configs) and not names:
        words = {flag.key: " ".join(flag.tokens) for flag in given}
        saved = _saved({**(overrides or {}), **words}, trust)
    if saved:
        saved.refuse(set_by(argv, overrides))
    return load(argv, configs=configs, overrides=overrides, saved=saved)


def load_saved(saved: SavedRun, argv: Sequence[str]) -> Config:
    """Resolve the configuration of a run that is to be looked at, under flags.

    Code that it names is not refused here: see `SavedRun.refuse`.
    """
    options = {k: x for k, x in saved.options.items() if not k.startswith("jax.")}
    return load(argv, saved=dataclasses.replace(saved, options=options))


def set_by(argv: Sequence[str] | None, overrides: Mapping[str, Any] | None = None) -> list[str]:
    """The options that a command line and overrides set."""
    overlay = Overlay()
    _set(overlay, argv, overrides)
    return list(overlay.sources)


def _set(overlay: Overlay, argv: Sequence[str] | None, overrides: Mapping[str, Any] | None) -> None:
    """Lays overrides and flags over what is there."""
    overlay.update(overrides or {}, "overrides")
    for flag in flags.split(argv or ())[1]:
        overlay.set_each(flag.key, flag.read, f"flag --{flag.key}", flag.shown)


def _saved(wanted: Mapping[str, Any], trust: bool) -> SavedRun | None:
    """The run that a logdir names, if it is of the wanted task."""
    logdir = wanted.get("logdir")
    if not isinstance(logdir, str | os.PathLike) or not os.fspath(logdir):
        return None
    folder = pathlib.Path(logdir).expanduser()
    if not os.path.isfile(folder / RUN_CONFIG):
        return None
    saved = read_run(folder, trust)
    task = task_name(wanted.get("task"))
    return saved if task is None or task == saved.options.get("task") else None


def _names(configs: Configs) -> list[str]:
    """The blocks and files, one by one."""
    if isinstance(configs, str):
        configs = configs.split(",")
    elif isinstance(configs, os.PathLike):
        configs = [configs]
    names = list(configs) if isinstance(configs, Iterable) else [configs]
    for name in names:
        if not isinstance(name, str | os.PathLike):
            raise ConfigError(
                f"configs has {name!r} in it: expected names of blocks and paths of yaml files, "
                "such as configs='small' or configs=['small', 'mine.yaml']."
            )
    return [name for name in (os.fspath(each).strip() for each in names) if name]


def _layer(name: str, blocks: Mapping[str, Mapping[str, Any]]) -> tuple[Mapping[str, Any], str]:
    if name.endswith((".yaml", ".yml")):
        path = os.path.expanduser(name)
        return yaml_text.read(path), f"file {path}"
    if name not in blocks:
        raise ConfigError(
            f"Unknown block {name!r} in --configs.{suggestion(name, blocks)} Known blocks: "
            f"{', '.join(blocks)}; or give a path that ends in .yaml."
        )
    return blocks[name], f"block {name}"


def _fill_in(overlay: Overlay, now: datetime.datetime | None) -> None:
    """Fills in the logdir, and makes paths absolute: an environment may change the directory.

    Args:
        overlay: What was set.
        now: The time; None only checks the placeholders of the logdir.
    """
    raw, source = overlay.get("logdir"), overlay.sources.get("logdir", "default")
    values = {
        STAMP: f"{now:%Y%m%dT%H%M%S}" if now else "",
        # A task may name a folder of its own, as in `gym_ALE/Pong-v5`.
        "{task}": re.sub(r"[^\w.-]+", "_", overlay.get("task")),
        "{seed}": str(overlay.get("seed")),
    }
    unknown = sorted({*re.findall(r"\{[^{}]*\}", raw)} - {*values})
    # Of a run that is there, moved or made below such a folder, they are the name.
    if unknown and not os.path.exists(os.path.expanduser(f"{raw}/{RUN_CONFIG}")):
        raise ConfigError(
            f"Option logdir = {raw!r} from {source}: expected no placeholder but {{timestamp}}, "
            f"{{task}} and {{seed}}, got {', '.join(unknown)}."
        )
    if re.match(r"\w+://", raw):
        raise ConfigError(
            f"Option logdir = {raw!r} from {source}: expected a folder of a file system, and no "
            "address. Mount what it names, or copy the folder there."
        )
    if now is None:
        return
    logdir = re.sub("|".join(map(re.escape, values)), lambda found: values[found[0]], raw)
    logdir = os.path.expanduser(logdir)
    if any(len(os.fsencode(name)) > 255 for name in logdir.split(os.sep)):
        raise ConfigError(
            f"Option logdir = {shorten(repr(raw))} from {source}: no file system takes a name of "
            "more than 255 bytes. Choose a shorter one."
        )
    overlay.set("logdir", os.path.abspath(logdir), source if logdir == raw else f"{source} ({raw})")
    for key in (key for key, leaf in leaves(Config).items() if leaf.path and key != "logdir"):
        path = os.path.expanduser(overlay.get(key))
        if path != "off" and os.path.exists(path):
            path = os.path.abspath(path)
        if path != overlay.get(key):
            overlay.set(key, path, overlay.sources[key])
