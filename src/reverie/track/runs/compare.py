"""Curves of several runs: which are seeds of one experiment, and what tells others apart."""

import dataclasses
import os
import pathlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import numpy as np

from reverie.track.encoding.names import task_title
from reverie.track.pictures.curve import latest
from reverie.track.runs.aggregate import interquartile
from reverie.track.runs.published import Curve, action_repeat, original_curve, published_for
from reverie.track.runs.status import UNREADABLE, find_runs, read_options
from reverie.track.sinks.jsonl import METRICS, SCORES, read_jsonl

Axis = Literal["steps", "frames", "hours"]
Baseline = Literal["", "published", "original"]

POINTS = 50
"""Bins of the axis in which the episodes of a run are averaged."""

PAUSE = 900.0
"""Seconds without a record that count as a pause between a stop and a resume, not as training; as
many as in view/static/store.js."""

INCIDENTAL = ("logdir", "seed", "logger.", "jax.", "ray.", "run.", "script", "replay.save")
"""Options, or sections, in which seeds of one experiment may differ."""

COUNTS = ("run.train_ratio", "run.envs", "jax.compute_dtype")
"""Options of these sections that matter all the same."""


class NothingToPlot(ValueError):
    """There are no curves in what was given."""


@dataclasses.dataclass(frozen=True)
class RunCurve:
    """The training episodes of a run.

    Attributes:
        folder: Run folder.
        options: By dotted key.
        steps: Environment steps at the end of each episode.
        hours: Hours of training at these steps.
        scores: Of the episodes.
    """

    folder: pathlib.Path
    options: Mapping[str, Any]
    steps: np.ndarray
    hours: np.ndarray
    scores: np.ndarray

    @property
    def frames(self) -> np.ndarray:
        """Frames of the environment at these steps: with action repeat there are more."""
        return self.steps * action_repeat(self.options)

    @property
    def task(self) -> str:
        """Task of the run."""
        return str(self.options["task"])


@dataclasses.dataclass(frozen=True)
class Experiment:
    """Runs that differ in nothing but their seeds.

    Attributes:
        label: What tells it apart from others on the same task; empty if nothing does.
        seeds: Points [2, K] of each run, by its name.
        middle: Interquartile mean and interval [4, K], see `interquartile`.
    """

    label: str
    seeds: Mapping[str, np.ndarray]
    middle: np.ndarray


@dataclasses.dataclass(frozen=True)
class Comparison:
    """What there is on one task: our experiments, and somebody else's curve or None."""

    title: str
    experiments: Sequence[Experiment]
    baseline: Curve | None = None


def read_runs(folders: Iterable[pathlib.Path]) -> tuple[list[RunCurve], list[str]]:
    """Reads all runs in some folders, each of which may be a run itself.

    Returns:
        The runs with a finished episode, and what to know about the others.

    Raises:
        NothingToPlot: If there is no such run.
    """
    folders = [folder.expanduser() for folder in folders]
    for folder in folders:
        if not os.path.exists(folder):
            raise NothingToPlot(f"There is no folder {folder}.")
    paths: dict[pathlib.Path, pathlib.Path] = {}
    notes: list[str] = []  # What matches logdir/* are pictures of an earlier call too.
    for path in (run for folder in folders for run in find_runs(folder, note=notes.append)):
        paths.setdefault(path.resolve(), path)  # Whichever way it is spelled, it is one seed.
    found = []
    for path in paths.values():
        try:
            run = _read(path)
        except UNREADABLE as error:
            notes.append(f"Left out {path}: {error}")
            continue
        if len(run.steps):
            found.append(run)
        else:
            notes.append(f"Left out: {path} has no finished episode yet.")
    if not found:
        where = ", ".join(map(str, folders))
        what = f"There is no run with a finished episode in {where}."
        raise NothingToPlot("\n".join([what, *notes]))
    return found, notes


def compare(
    runs: Sequence[RunCurve], axis: Axis = "steps", baseline: Baseline = ""
) -> tuple[list[Comparison], list[str]]:
    """Groups runs by task and configuration.

    Returns:
        One comparison per task, and what to know about them.
    """
    if baseline and axis == "hours":
        raise NothingToPlot(f"--baseline {baseline} is known over steps, not over hours.")
    tasks, notes = defaultdict(list), []
    for run in runs:
        tasks[run.task].append(run)
    found = []
    for task, own in sorted(tasks.items()):
        other = None
        if baseline:
            try:
                options = own[0].options
                other = published_for(options) if baseline == "published" else original_curve(task)
                if axis == "frames":
                    other = dataclasses.replace(other, steps=other.steps * action_repeat(options))
            except ValueError as error:
                notes.append(f"{task_title(task)}: {error}")
        found.append(Comparison(task_title(task), _experiments(own, axis), other))
    return found, notes


def _read(folder: pathlib.Path) -> RunCurve:
    options = read_options(folder)
    path = folder / SCORES
    records = read_jsonl(path) if path.exists() else []
    steps, scores, times = latest(records, "episode/score")
    metrics = read_jsonl(folder / METRICS) if (folder / METRICS).exists() else []
    return RunCurve(folder, options, steps, _hours([*metrics, *records], times), scores)


def _hours(records: Sequence[Mapping[str, Any]], at: np.ndarray) -> np.ndarray:
    """Hours of training at some times: pauses do not count."""
    times = np.unique([x["time"] for x in records if isinstance(x.get("time"), int | float)])
    gaps = np.diff(times, prepend=times[:1])
    if not len(times):
        return np.zeros(len(at))
    return np.interp(at, times, np.cumsum(np.where(gaps < PAUSE, gaps, 0.0)) / 3600)


def _experiments(runs: Sequence[RunCurve], axis: Axis) -> list[Experiment]:
    """Groups the runs of a task."""
    differing = _differing([run.options for run in runs])
    groups: dict[str, list[RunCurve]] = defaultdict(list)
    for run in runs:
        parts = [f"{key}={_value(run.options.get(key))}" for key in differing]
        label = ", ".join(x.removeprefix("agent.").removeprefix("run.") for x in parts)
        groups[label].append(run)
    end = max(float(getattr(run, axis)[-1]) for run in runs)
    found = []
    for label, group in sorted(groups.items()):
        names = _names(group)
        seeds = {name: _binned(run, axis, end) for name, run in zip(names, group, strict=True)}
        found.append(Experiment(label, seeds, interquartile(seeds)))
    return found


def _differing(options: Sequence[Mapping[str, Any]]) -> list[str]:
    """Keys that tell experiments apart."""
    keys = dict.fromkeys(key for each in options for key in each)
    return [
        key
        for key in keys
        if (not key.startswith(INCIDENTAL) or key in COUNTS)
        and len({repr(each.get(key)) for each in options}) > 1
    ]


def _value(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    return " ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _names(runs: Sequence[RunCurve]) -> list[str]:
    """A name for each run: its seed, or its folder where seeds repeat."""
    seeds = [str(run.options.get("seed")) for run in runs]
    if len(set(seeds)) == len(seeds):
        return [f"seed {seed}" for seed in seeds]
    names = [run.folder.name for run in runs]
    return names if len(set(names)) == len(names) else [str(run.folder) for run in runs]


def _binned(run: RunCurve, axis: Axis, end: float) -> np.ndarray:
    """Means [2, K] of the episodes in bins, each at the end of its bin."""
    at = np.asarray(getattr(run, axis), float)
    width = (end or 1.0) / POINTS
    bins = np.maximum(np.ceil(at / width - 1e-9), 1).astype(int)
    ends, index = np.unique(bins, return_inverse=True)
    means = np.bincount(index, run.scores) / np.bincount(index)
    return np.array([ends * width, means])
