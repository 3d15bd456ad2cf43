"""What a run chooses where neither the user nor a block has: the size of model and replay."""

import contextlib
import os
import pathlib
from collections.abc import Mapping

from reverie.config.checks import check
from reverie.config.presets import sizes
from reverie.config.saved_runs.foreign import read_agent
from reverie.config.schema import Config, unset, with_values
from reverie.errors import ConfigError
from reverie.learner.placement.devices import Placement
from reverie.replay.budget import Budget
from reverie.spaces import Space

REPLAY = "replay.size"

ON_CPU = "size1m"
"""The model on a CPU, where an update of the next larger one takes ten times as long."""

WITHOUT_IMAGES = "size12m"
"""The largest model that is chosen for numbers alone."""

MEMORY = {"size200m": 24e9, "size100m": 14e9, "size50m": 9e9, "size25m": 6e9, "size12m": 3e9}
"""Bytes of accelerator memory from which a size is chosen: with 16 sequences of 64 images of 64x64
pixels, and room to spare."""

Choice = tuple[Config, list[str]]
"""The configuration, and what to tell the user."""


def keep(config: Config, saved: Config | None) -> Config:
    """What the run that goes on has chosen, in place of a new choice, which could be another."""
    return _taken(config, saved, [*_size_keys(), REPLAY], "saved run")


def keep_size(config: Config, path: str | os.PathLike[str]) -> Config:
    """The size of the model in a run folder, or checkpoint in one, if nobody has set another."""
    path = pathlib.Path(path).expanduser()
    for folder in (path, *path.parents[:2]):
        # There may be none, or that of another program.
        with contextlib.suppress(ConfigError):
            saved = config.model_copy(update={"agent": read_agent(folder)})
            return _taken(config, saved, _size_keys(), f"run in {folder}")
    return config


def choose_size(config: Config, placement: Placement, obs_space: Mapping[str, Space]) -> Choice:
    """Chooses the size of the model by device, memory and observations, if nobody else has."""
    open_ = unset(config, _size_keys())
    if config.random_agent or not open_:
        return config, []
    name, reason = _fitting(placement, obs_space)
    values = {key: sizes()[name][key] for key in open_}
    config = with_values(config, values, f"{name}, chosen for {reason}")
    check(config)
    return config, [f"Model {name}, chosen for {reason}; --configs with another size changes that."]


def fit_replay(config: Config, budget: Budget) -> Choice:
    """Takes over the capacity of a budget that was cut to what fits."""
    wanted = min(config.replay.size, config.run.steps)
    if budget.steps >= wanted:
        return config, []
    note = f"replay.size {budget.steps:,}: more of the {wanted:,} steps would not fit here."
    return with_values(config, {REPLAY: budget.steps}, "chosen to fit"), [note]


def _fitting(placement: Placement, obs_space: Mapping[str, Space]) -> tuple[str, str]:
    """The size, and what it is chosen for."""
    if placement.platform == "cpu":
        return ON_CPU, "a CPU"
    stats = placement.here[0].memory_stats() or {}
    limit = stats.get("bytes_limit", 0)
    device = f"{placement.platform.upper()} with {limit / 1e9:.0f} GB" if limit else "this device"
    found = next((name for name, needed in MEMORY.items() if limit >= needed), ON_CPU)
    images = any(space.kind == "image" for space in obs_space.values())
    order = list(sizes())
    if not images and order.index(found) > order.index(WITHOUT_IMAGES):
        return WITHOUT_IMAGES, "observations without images"
    return found, f"a {device}"


def _taken(config: Config, saved: Config | None, keys: list[str], source: str) -> Config:
    values = {key: saved.value(key) for key in unset(config, keys)} if saved else {}
    return with_values(config, values, source)


def _size_keys() -> list[str]:
    return [*sizes()[ON_CPU]]
