"""Whole runs: environment steps and updates per second, and where the wall clock goes.

    python benchmarks/speed/whole_run.py                             # all runs, a minute each
    python benchmarks/speed/whole_run.py quickstart --seconds 120 --json

Each run is `reverie.train` in a process of its own, timed between its first update and the end. The
parts are what the loop's own thread spends in calls of them: a CPU that computes an update while
the loop goes on shows as `update` when the loop waits for it. `other` is the loop itself, and
`overhead` is all but environment, policy and update. `alone` is what `reverie plan` predicts for
the run from its parts measured one at a time, in environment steps per second.
"""

import argparse
import functools
import json
import signal
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable

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

PARTS = {
    "environment": (
        "reverie.envs.vector.vector:VectorEnv.step_async",
        "reverie.envs.vector.vector:VectorEnv.step_wait",
    ),
    "policy": ("reverie.learner.policy:Policy.act",),
    "replay": (
        "reverie.replay.replay:Replay.add",
        "reverie.replay.batches:Batches.next",
        "reverie.replay.batches:Batches.postpone",
    ),
    "update": ("reverie.learner.learner:Learner.update",),
    "logging": ("reverie.run.monitor:Monitor.log", "reverie.run.monitor:Monitor.acted"),
    "saving": ("reverie.run.setup:Run.save", "reverie.run.setup:Run.save_now"),
}
"""Part -> functions whose time it is."""

COLUMNS = ("steps/s", "updates/s", "alone", "overhead", *PARTS, "other")


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("runs", nargs="*", choices=[*RUNS, []], default=list(RUNS)[1:])
    parser.add_argument("--seconds", type=float, default=60, help="after the first update")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.here:
        print(json.dumps(measure(RUNS[args.runs[0]], args.seconds)))
        return
    results = {name: in_process(name, args.seconds) for name in args.runs}
    print(json.dumps(results, indent=2) if args.json else table(results))


def in_process(name: str, seconds: float) -> dict[str, float]:
    """Measures a run in a process of its own, so that none inherits devices and memory."""
    words = [sys.executable, __file__, name, "--here", "--seconds", str(seconds)]
    done = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def measure(words: list[str], seconds: float) -> dict[str, float]:
    """Trains for some seconds after the first update."""
    from reverie.config.load import load
    from reverie.run.plan import plan
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
    """A callback that times the parts from the first update on, and then ends the run."""

    def __init__(self, seconds: float):
        self._seconds = seconds
        self._start = self._end = self._steps = self._updates = 0.0
        self._spent: dict[str, float] = defaultdict(float)
        self._inside = ""
        for part, functions in PARTS.items():
            for function in functions:
                self._time(part, function)

    def __call__(self, run) -> None:
        now = time.perf_counter()
        if not self._start and run.updates:
            self._start, self._steps, self._updates = now, run.steps, run.updates
            self._spent.clear()
        if self._start and not self._end and now - self._start >= self._seconds:
            self._end = now
            self._steps = run.steps - self._steps
            self._updates = run.updates - self._updates
            signal.raise_signal(signal.SIGTERM)

    def result(self) -> dict[str, float]:
        """Rates, and parts as shares of the wall clock."""
        wall = self._end - self._start
        parts = {part: self._spent[part] / wall for part in PARTS}
        other = 1 - sum(parts.values())
        working = sum(parts[part] for part in ("environment", "policy", "update"))
        return {
            "steps/s": self._steps / wall,
            "updates/s": self._updates / wall,
            "overhead": 1 - working,
            **parts,
            "other": other,
        }

    def _time(self, part: str, function: str) -> None:
        module, _, name = function.partition(":")
        holder, _, method = name.partition(".")
        cls = getattr(__import__(module, fromlist=[holder]), holder)
        original: Callable = getattr(cls, method)

        @functools.wraps(original)
        def timed(*args, **kwargs):
            if self._inside or self._end:  # Of another part already, or after the end.
                return original(*args, **kwargs)
            self._inside, start = part, time.perf_counter()
            try:
                return original(*args, **kwargs)
            finally:
                self._spent[part] += time.perf_counter() - start
                self._inside = ""

        setattr(cls, method, timed)


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
