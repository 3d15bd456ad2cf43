"""Learning curves of the preset `small` on tasks with different kinds of spaces.

    python benchmarks/learning/small.py train --seeds 0 1    # goes on where it was stopped
    python benchmarks/learning/small.py collect

`train` runs `reverie train --configs small` for every task and seed, one after the other, into
`logdir/small/`. `collect` writes what is there into `small.csv` beside this file, and draws
`docs/images/small.png`. A folder of runs somewhere else is named with `--folder`.
"""

import argparse
import csv
import os
import pathlib
import subprocess
import sys
from collections import defaultdict

import numpy as np

from reverie.track import style
from reverie.track.sinks.jsonl import read_jsonl

HERE = pathlib.Path(__file__).parent
TABLE = HERE / "small.csv"
PICTURE = HERE.parents[1] / "docs" / "images" / "small.png"
BIN = 1000
"""Environment steps whose training episodes are averaged into one row."""

TASKS = {
    "gym_CartPole-v1": (10_000, "vector, discrete action"),
    "gym_Pendulum-v1": (10_000, "vector, continuous action"),
    "gym_Acrobot-v1": (10_000, "vector, discrete action, sparse"),
    "gym_tasks:Catch-v0": (10_000, "64x64 image"),
    "gym_tasks:Sliders-v0": (30_000, "MultiDiscrete both ways"),
    "gym_tasks:Console-v0": (10_000, "Dict and Tuple, memory"),
    "gym_MountainCarContinuous-v0": (20_000, "vector, exploration"),
    "gym_LunarLander-v3": (30_000, "vector, discrete action"),
}
"""Task -> environment steps, and what it tries."""


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("command", choices=("train", "collect"))
    parser.add_argument("--folder", type=pathlib.Path, default=pathlib.Path("logdir/small"))
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    args = parser.parse_args()
    if args.command == "collect":
        rows = collect(args.folder)
        draw(rows)
        summarize(rows)
        return
    for task in args.tasks:
        for seed in args.seeds:
            train(task, seed, args.folder)


def train(task: str, seed: int, folder: pathlib.Path) -> None:
    """Trains one task with one seed, or goes on with it."""
    command = [sys.executable, "-m", "reverie", "train", "--configs", "small", "--task", task]
    command += ["--seed", str(seed), "--logdir", str(folder / f"{name(task)}-{seed}")]
    command += ["--run.steps", str(TASKS[task][0])]
    path = os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")])
    subprocess.run(command, check=True, env={**os.environ, "PYTHONPATH": path})


def name(task: str) -> str:
    """The id of a task without the suite, the module and the version."""
    return task.partition("_")[2].rpartition(":")[2].rpartition("-")[0]


def collect(folder: pathlib.Path) -> list[dict[str, float]]:
    """Mean scores of training episodes in bins of steps; also written to the table."""
    rows = []
    for task in TASKS:
        for run in sorted(folder.glob(f"{name(task)}-[0-9]*")):
            bins = defaultdict(list)
            for record in read_jsonl(run / "scores.jsonl"):
                if "episode/score" in record:
                    bins[-(-record["step"] // BIN) * BIN].append(record["episode/score"])
            rows += [
                {
                    "task": task,
                    "seed": int(run.name.rpartition("-")[2]),
                    "env_steps": int(end),
                    "mean_score": round(float(np.mean(scores)), 2),
                    "episodes": len(scores),
                }
                for end, scores in sorted(bins.items())
            ]
    if not rows:
        sys.exit(f"No run of these tasks lies in {folder}; make some with the command train.")
    with TABLE.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return rows


def draw(rows: list[dict[str, float]]) -> None:
    """One small plot for each task, one line for each seed."""
    figure = style.new_figure(12, 5.5)
    axes = figure.subplots(2, 4).ravel()
    for axis, (task, (_, about)) in zip(axes, TASKS.items(), strict=True):
        style.clean(axis)
        axis.set_title(f"{name(task)}\n{about}", loc="left", fontsize=9, color=style.INK)
        mine = [row for row in rows if row["task"] == task]
        axis.set_visible(bool(mine))
        for seed in sorted({row["seed"] for row in mine}):
            line = [(r["env_steps"], r["mean_score"]) for r in mine if r["seed"] == seed]
            axis.plot(*zip(*line, strict=True), color=style.BLUE, lw=1.6, alpha=0.8)
    for axis in axes[4:]:
        axis.set_xlabel("environment steps", fontsize=8)
    style.save(figure, PICTURE)


def summarize(rows: list[dict[str, float]]) -> None:
    """Prints, for each run, the first score, the best and the last one."""
    for task in TASKS:
        for seed in sorted({row["seed"] for row in rows if row["task"] == task}):
            mine = [row for row in rows if row["task"] == task and row["seed"] == seed]
            scores = [row["mean_score"] for row in mine]
            print(
                f"| {name(task)} | {seed} | {mine[-1]['env_steps']:,} | {scores[0]:g} | "
                f"{max(scores):g} | {scores[-1]:g} |"
            )


if __name__ == "__main__":
    main()
