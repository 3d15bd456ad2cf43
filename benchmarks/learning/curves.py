"""Trains the experiments of experiments.py, and puts their curves into docs/results.md.

    python benchmarks/learning/curves.py train quickstart --seeds 0 1   # goes on if stopped
    python benchmarks/learning/curves.py collect quickstart
    python benchmarks/learning/curves.py draw

`train` runs `reverie train` for every task and seed, one after the other, into
`logdir/EXPERIMENT/TASK-SEED`. `collect` writes what lies there into `scores.csv` (of training
episodes) and `evaluations.csv` beside this file; other rows stay. `draw` makes the pictures
`docs/images/EXPERIMENT.png` and the tables in docs/results.md from these files and the curves of
the original implementation with the same settings, which are part of the package.
"""

import argparse
import csv
import json
import os
import pathlib
import re
import subprocess
import sys
from collections import defaultdict
from typing import Any

import numpy as np
from experiments import EXPERIMENTS, Experiment

from reverie.track.encoding.names import task_title
from reverie.track.runs import compare
from reverie.track.runs.aggregate import interquartile
from reverie.track.runs.compare_picture import draw_comparison
from reverie.track.runs.published import original_curve, published_curve
from reverie.track.sinks.jsonl import read_jsonl

HERE = pathlib.Path(__file__).parent
DOCS = HERE.parents[1] / "docs"
ORIGINAL = HERE.parents[1] / "src" / "reverie" / "track" / "data" / "original.csv"
RUN = ("experiment", "task", "seed")
"""What names a run, in all tables."""

Rows = list[dict[str, Any]]


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("command", choices=("train", "collect", "draw"))
    parser.add_argument("experiments", nargs="*", metavar="EXPERIMENT", help=", ".join(EXPERIMENTS))
    parser.add_argument("--folder", type=pathlib.Path, default=pathlib.Path("logdir"))
    parser.add_argument("--tasks", nargs="+", help="Only tasks that contain one of these words.")
    parser.add_argument("--seeds", nargs="+", type=int, help="Others than the experiment's.")
    args = parser.parse_args()
    if unknown := set(args.experiments) - set(EXPERIMENTS):
        parser.error(f"No experiment is called {sorted(unknown)[0]}: {', '.join(EXPERIMENTS)}.")
    names = args.experiments or list(EXPERIMENTS)
    if args.command == "draw":
        draw_all(names)
    for name in names if args.command != "draw" else ():
        experiment = EXPERIMENTS[name]
        folder = args.folder / name
        if args.command == "collect":
            collect(name, experiment, folder)
            continue
        for seed in args.seeds or experiment.seeds:
            for task in experiment.tasks:
                if not args.tasks or any(word in task for word in args.tasks):
                    train(experiment, task, seed, folder)


def train(experiment: Experiment, task: str, seed: int, folder: pathlib.Path) -> None:
    """Trains one task with one seed, or goes on with it."""
    words = command(experiment, task, seed, folder)
    path = os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")])
    code = subprocess.run(words, env={**os.environ, "PYTHONPATH": path}).returncode
    if code:  # The training has said why.
        sys.exit(code)


def command(experiment: Experiment, task: str, seed: int, folder: pathlib.Path) -> list[str]:
    """The words of a training's command."""
    return [
        *(sys.executable, "-m", "reverie", "train", "--configs", *experiment.configs),
        *("--task", task, "--seed", str(seed), "--logdir", str(folder / f"{short(task)}-{seed}")),
        *("--run.steps", str(experiment.tasks[task]), *experiment.options),
    ]


def short(task: str) -> str:
    """A task without its suite, the module and the version: what names folders and plots."""
    name = task.partition("_")[2].rpartition(":")[2]
    return re.sub(r"-v\d+$", "", name).replace("/", "-")


def collect(name: str, experiment: Experiment, folder: pathlib.Path) -> None:
    """Writes the scores of an experiment's runs into the tables."""
    scores, evaluations = [], []
    for task in experiment.tasks:
        for run in sorted(folder.glob(f"{short(task)}-[0-9]*")):
            key = dict(zip(RUN, (name, task, run.name.rpartition("-")[2]), strict=True))
            scores += [{**key, **row} for row in binned(run, experiment.bin)]
            if (run / "evaluation.json").exists():
                evaluations.append({**key, **evaluated(run)})
    print(f"{name}: {len(scores)} points and {len(evaluations)} evaluations in {folder}")
    merge(HERE / "scores.csv", scores)
    merge(HERE / "evaluations.csv", evaluations)


def binned(run: pathlib.Path, size: int) -> Rows:
    """Mean scores of training episodes in bins of steps."""
    bins = defaultdict(list)
    for record in read_jsonl(run / "scores.jsonl"):
        if "episode/score" in record:
            bins[int(-(-record["step"] // size)) * size].append(record["episode/score"])
    return [
        {"env_steps": end, "score": f"{np.mean(scores):.4g}", "episodes": len(scores)}
        for end, scores in sorted(bins.items())
    ]


def evaluated(run: pathlib.Path) -> dict[str, Any]:
    """The last evaluation of a run."""
    scores = json.loads((run / "evaluation.json").read_text())["scores"]
    return {
        "mean": f"{np.mean(scores):.4g}",
        "std": f"{np.std(scores):.3g}",
        "worst": f"{min(scores):.4g}",
        "episodes": len(scores),
    }


def read(path: pathlib.Path) -> Rows:
    """Rows of a table; none if there is no such file."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def merge(path: pathlib.Path, rows: Rows) -> None:
    """Replaces in a table the runs that the rows are of."""
    if not rows:
        return
    new = {tuple(row[key] for key in RUN) for row in rows}
    old = [row for row in read(path) if tuple(row[key] for key in RUN) not in new]
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        place = list(EXPERIMENTS)
        writer.writerows(sorted(old + rows, key=lambda row: place.index(row["experiment"])))


def curves(rows: Rows, task: str) -> dict[str, np.ndarray]:
    """By seed: steps and scores [2, K] of a task."""
    found = defaultdict(list)
    for row in rows:
        if row["task"] == task:
            found[row["seed"]].append((float(row["env_steps"]), float(row["score"])))
    return {seed: np.array(points).T for seed, points in found.items()}


def draw_all(names: list[str]) -> None:
    """Pictures and tables of the experiments that have been run."""
    scores, original = read(HERE / "scores.csv"), read(ORIGINAL)
    evaluations = read(HERE / "evaluations.csv")
    text = (DOCS / "results.md").read_text()
    for name in names:
        experiment = EXPERIMENTS[name]
        mine, theirs, results = (
            [row for row in rows if row["experiment"] == name]
            for rows in (scores, original, evaluations)
        )
        if mine:
            drawn = {experiment.label: mine}
            if other := experiment.beside:
                beside = [row for row in scores if row["experiment"] == other]
                drawn = {experiment.label: mine, EXPERIMENTS[other].label: beside}
            draw(name, experiment, drawn, theirs)
            table = "\n".join(table_rows(EXPERIMENTS[name], mine, results))
            mark = rf"(<!-- {name} -->\n).*?(<!-- end -->)"
            text = re.sub(mark, lambda m, t=table: f"{m[1]}{t}\n{m[2]}", text, flags=re.DOTALL)
    (DOCS / "results.md").write_text(text)


def draw(name: str, experiment: Experiment, drawn: dict[str, Rows], theirs: Rows) -> None:
    """One plot for each task that has been run: seeds, their middle, and what it is compared to."""
    found = []
    for task in experiment.tasks:
        ours = {label: seeds for label, rows in drawn.items() if (seeds := curves(rows, task))}
        if not ours:
            continue
        other = None
        if curves(theirs, task):
            other = original_curve(task)
        elif experiment.published:
            other = published_curve(experiment.published, task)
        runs = [
            compare.Experiment(label if len(ours) > 1 else "", seeds, interquartile(seeds))
            for label, seeds in ours.items()
        ]
        found.append(compare.Comparison(task_title(task), runs, other))
    draw_comparison(found, DOCS / "images" / f"{name}.png")


def table_rows(experiment: Experiment, mine: Rows, evaluations: Rows) -> list[str]:
    """A table in Markdown: of each run the first, the best and the last point, and evaluation."""
    rows = ["| task | seed | steps | first | best | last | evaluation | worst |"]
    rows += ["|---" * 8 + "|"]
    for task in experiment.tasks:
        for seed, (steps, scores) in sorted(curves(mine, task).items()):
            key = task, seed
            found = [row for row in evaluations if (row["task"], row["seed"]) == key]
            end = "{mean} +- {std} | {worst}".format(**found[0]) if found else " | "
            rows.append(
                f"| {short(task)} | {seed} | {steps[-1]:,.0f} | {scores[0]:.4g} | "
                f"{scores.max():.4g} | {scores[-1]:.4g} | {end} |"
            )
    return rows


if __name__ == "__main__":
    main()
