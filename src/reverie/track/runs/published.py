"""Learning curves of others, to compare a run with.

The tables in `data/` hold, per task and number of environment steps, the undiscounted episode
score averaged over the episodes of a bin that ends there, then over seeds. `original.csv` holds
what the original implementation reached by seed, with the same settings and on the same kind of
machine as our runs in docs/results.md.
"""

import csv
import dataclasses
import difflib
import importlib.resources
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from reverie.config.schema import suite_of
from reverie.track.runs.aggregate import interquartile

BENCHMARKS = ("atari100k", "dmc_proprio", "dmc_vision", "procgen")
"""Names of the tables."""


@dataclasses.dataclass(frozen=True)
class Curve:
    """A learning curve, usually averaged over seeds.

    Args:
        label: What it is, for the legend.
        steps: Environment steps [K], increasing; Atari counts frames.
        score: Mean undiscounted episode score [K].
        low: Lowest seed, or lower end of an interval [K].
        high: Highest seed, or upper end [K].
    """

    label: str
    steps: np.ndarray
    score: np.ndarray
    low: np.ndarray
    high: np.ndarray


def published_curve(benchmark: str, task: str) -> Curve:
    """Looks up the published DreamerV3 curve of a task.

    Args:
        benchmark: One of `BENCHMARKS`; proprioceptive and visual control are two of them.
        task: Name of the task, for example `dmc_walker_walk`.

    Raises:
        ValueError: The benchmark or the task is unknown; the message names the nearest ones.
    """
    if benchmark not in BENCHMARKS:
        raise ValueError(_unknown("benchmark", benchmark, BENCHMARKS))
    rows = _table(benchmark).get(task)
    if rows is None:
        raise ValueError(_unknown(f"task in {benchmark}", task, _table(benchmark)))
    names = ("env_steps", "mean_score", "min_seed", "max_seed")
    steps, score, low, high = (np.array([float(row[name]) for row in rows]) for name in names)
    seeds = int(rows[0]["seeds"])
    label = f"DreamerV3, published ({seeds} seed{'s' if seeds > 1 else ''})"
    return Curve(label, steps, score, low, high)


def published_for(options: Mapping[str, Any]) -> Curve:
    """The published curve of a run's task, over agent steps as the run counts them.

    Raises:
        ValueError: There is none.
    """
    task = str(options["task"])
    suite, _, name = task.partition("_")
    benchmark = suite
    if suite == "dmc":
        benchmark = "dmc_vision" if options.get("env.dmc.image") else "dmc_proprio"
    if suite == "atari100k":
        task = f"atari_{name}"
    if benchmark not in BENCHMARKS:
        tables = ", ".join(BENCHMARKS)
        raise ValueError(f"There is no published curve of {task!r}: the tables are {tables}.")
    curve = published_curve(benchmark, task)
    return dataclasses.replace(curve, steps=curve.steps / action_repeat(options))


def action_repeat(options: Mapping[str, Any]) -> int:
    """Frames of the environment for each step of a run, which papers count."""
    return options.get(f"env.{suite_of(str(options['task']))}.repeat", 1)


def original_curve(task: str) -> Curve:
    """What the original reached with the options of the experiments `cartpole` and `pendulum`.

    Raises:
        ValueError: It was not run; the message names what was.
    """
    seeds: dict[str, list[tuple[float, float]]] = {}
    for row in _table("original").get(task, ()):
        seeds.setdefault(row["seed"], []).append((float(row["env_steps"]), float(row["score"])))
    if not seeds:
        ran = ", ".join(_table("original"))
        raise ValueError(f"The original implementation was not run on {task!r}, only on {ran}.")
    points = {seed: np.array(each).T for seed, each in seeds.items()}
    label = f"DreamerV3, original code ({len(seeds)} seed{'s' if len(seeds) > 1 else ''})"
    return Curve(label, *interquartile(points))


def _table(benchmark: str) -> dict[str, list[dict[str, str]]]:
    file = importlib.resources.files("reverie.track") / "data" / f"{benchmark}.csv"
    tasks: dict[str, list[dict[str, str]]] = {}
    for row in csv.DictReader(file.read_text(encoding="utf-8").splitlines()):
        tasks.setdefault(row["task"], []).append(row)
    return tasks


def _unknown(what: str, name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.3) or sorted(known)[:3]
    return f"Unknown {what} {name!r}: the nearest known are {', '.join(near)}."
