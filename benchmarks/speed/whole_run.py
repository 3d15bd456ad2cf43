"""Whole runs: environment steps and updates per second, and where the wall clock goes.

    python benchmarks/speed/whole_run.py                             # all runs, a minute each
    python benchmarks/speed/whole_run.py quickstart --seconds 120 --json

Each run is `reverie.train` in a process of its own, timed between its first update and the end. The
parts are those that a run logs as `time/...`, of the loop's own thread: a CPU that computes an
update while the loop goes on shows as `update` when the loop waits for it. `other` is the loop
itself, and
`overhead` is all but environment, policy and update. `alone` is what `reverie plan` predicts for
the run from its parts measured one at a time, in environment steps per second.
"""

import argparse
import json
import signal
import subprocess
import sys
import tempfile
import time

from reverie.run.parts.state import PARTS

RUNS = {
    "debug": ["--configs", "debug", "--task", "dummy_disc"],  # Only to try this program.
    "quickstart": ["--configs", "quickstart"],
    "dmc": ["--configs", "dmc_proprio", "size1m", "--task", "dmc_cartpole_balance"],
    "crafter": ["--configs", "crafter", "size1m"],
    "disk": [
        *("--configs", "size1m", "--task", "dummy_disc", "--run.envs", "16"),
        *("--run.train_ratio", "32", "--replay.storage", "disk", "--replay.ram_gb", "1"),
    ],
}  # fmt: skip
"""Run -> words after `reverie train`."""

ALL = tuple(RUNS)[1:]

COLUMNS = ("steps/s", "updates/s", "alone", "overhead", *PARTS, "other")


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "runs", nargs="*", metavar="RUN", help=f"by default all of {', '.join(ALL)}"
    )
    parser.add_argument("--seconds", type=float, default=60, help="after the first update")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.here:
        print(json.dumps(measure(RUNS[args.runs[0]], args.seconds)))
        return
    if unknown := {*args.runs} - RUNS.keys():
        parser.error(f"there is no run {', '.join(sorted(unknown))}; there are {', '.join(RUNS)}")
    results = {name: in_process(name, args.seconds) for name in args.runs or ALL}
    print(json.dumps(results, indent=2) if args.json else table(results))


def in_process(name: str, seconds: float) -> dict[str, float]:
    """Measures a run in a process of its own, so that none inherits devices and memory."""
    words = [sys.executable, __file__, name, "--here", "--seconds", str(seconds)]
    done = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def measure(words: list[str], seconds: float) -> dict[str, float]:
    """Trains for some seconds after the first update."""
    from reverie.config.load import load
    from reverie.run.planning.plan import plan
    from reverie.run.scripts import launch

    with tempfile.TemporaryDirectory() as root:
        quiet = ["--logger.outputs", "jsonl", "--run.final_eval_eps", "0"]
        quiet += ["--run.duration", "0", "--run.steps", "10000000", "--replay.size", "1e5"]
        config = load([*words, *quiet, "--logdir", f"{root}/run"])
        planned = plan(config)
        watch = Watch(seconds)
        launch(config, callbacks=[watch])
    return {**watch.result(), "alone": planned.config.run.steps / planned.seconds}


class Watch:
    """A callback that looks at a run from the first update on, and then ends it."""

    def __init__(self, seconds: float):
        self._seconds = seconds
        self._start = self._end = 0.0
        self._counts: dict[str, float] = {}

    def __call__(self, run) -> None:
        now = time.perf_counter()
        counts = {"steps": run.steps, "updates": run.updates, **run.spent}
        if not self._start and run.updates:
            self._start, self._counts = now, counts
        if self._start and not self._end and now - self._start >= self._seconds:
            self._end = now
            self._counts = {name: counts[name] - self._counts[name] for name in counts}
            signal.raise_signal(signal.SIGTERM)

    def result(self) -> dict[str, float]:
        """Rates, and parts as shares of the wall clock."""
        per_second = {name: x / (self._end - self._start) for name, x in self._counts.items()}
        parts = {part: per_second[part] for part in PARTS}
        working = sum(parts[part] for part in ("environment", "policy", "update"))
        return {
            "steps/s": per_second["steps"],
            "updates/s": per_second["updates"],
            "overhead": 1 - working,
            **parts,
            "other": 1 - sum(parts.values()),
        }


def table(results: dict[str, dict[str, float]]) -> str:
    """The results as Markdown."""
    lines = [f"| run | {' | '.join(COLUMNS)} |", "|---" * (1 + len(COLUMNS)) + "|"]
    for name, result in results.items():
        cells = [
            f"{result[key]:.3g}" if key in COLUMNS[:3] else f"{result[key]:.1%}" for key in COLUMNS
        ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
