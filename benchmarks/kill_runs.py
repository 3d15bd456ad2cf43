"""Kills a run again and again at random moments, and says what that cost.

    python benchmarks/kill_runs.py --kills 50

Each process goes on with the run of the one before, in two environment processes, and saves every
two seconds. SIGKILL hits it anywhere, also while it starts or saves. Looked at afterwards: whether
every step that was reported as saved is there, in the checkpoint and in replay; whether a file is
damaged; and whether a process of the run is left.
"""

import argparse
import dataclasses
import pathlib
import random
import re
import signal
import subprocess
import sys
import tempfile
import time

import psutil

from reverie.learner.checkpoints.checkpoint import Checkpointer

SAVED = re.compile(r"Saved at ([\d,]+) environment steps")
RESUMED = re.compile(r"Resumed at ([\d,]+) environment steps .* with ([\d,]+) steps in replay")


@dataclasses.dataclass
class Seen:
    """What the processes said and what was found."""

    kills: int = 0
    saves: int = 0
    durable: int = 0
    starting: int = 0
    lost: list[str] = dataclasses.field(default_factory=list)
    damaged: list[str] = dataclasses.field(default_factory=list)
    orphans: list[str] = dataclasses.field(default_factory=list)


def command(folder: pathlib.Path, cache: pathlib.Path, steps: float) -> list[str]:
    """A run of the smallest agent."""
    words = {
        "--configs": "debug", "--task": "dummy_disc", "--logdir": folder / "run",
        "--jax.cache_dir": cache, "--run.steps": steps, "--run.save_every": 2,
        "--run.report_every": 0, "--run.env_backend": "async", "--logger.outputs": "terminal",
    }  # fmt: skip
    return [sys.executable, "-m", "reverie", "train", *(str(x) for k in words.items() for x in k)]


def number(text: str) -> int:
    """Reads 1,234."""
    return int(text.replace(",", ""))


def read(output: str, seen: Seen) -> None:
    """Compares what a process found at its start with what the ones before had saved."""
    resumed = RESUMED.search(output)
    if resumed and (step := number(resumed[1])) < seen.durable:
        seen.lost.append(f"resumed at {step} of {seen.durable} steps")
    if resumed and number(resumed[2]) < number(resumed[1]):
        seen.lost.append(f"{resumed[2]} steps in replay of {resumed[1]}")
    seen.starting += not resumed
    seen.damaged += [line for line in output.splitlines() if "damaged" in line.lower()]
    saves = [number(step) for step in SAVED.findall(output)]
    seen.saves += len(saves)
    seen.durable = max([seen.durable, *saves])


def kill(process: subprocess.Popen, seen: Seen) -> None:
    """Kills a process; notes which of those that it has started are left ten seconds later."""
    children = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGKILL)
    process.wait()
    _, alive = psutil.wait_procs(children, timeout=10)
    seen.orphans += [f"process {each.pid}: {' '.join(each.cmdline())[:200]}" for each in alive]
    for each in alive:
        each.kill()
    seen.kills += 1


def check(folder: pathlib.Path, seen: Seen) -> None:
    """Reads the newest checkpoint."""
    saved = Checkpointer(folder / "run" / "checkpoints").restore()
    step = saved.step if saved else 0
    if step < seen.durable:
        seen.lost.append(f"the checkpoint has {step} of {seen.durable} steps")


def main() -> None:
    """Kills, goes on, and prints the summary."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--longest", type=float, default=12.0, help="Seconds until a kill at most.")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    draw, seen = random.Random(args.seed), Seen()
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        cache, output = folder / "cache", folder / "output.txt"
        subprocess.run(command(folder / "warm", cache, 40), check=True, capture_output=True)
        while seen.kills < args.kills:
            with output.open("wb") as file:
                process = subprocess.Popen(command(folder, cache, 1e9), stdout=file, stderr=file)
                time.sleep(draw.uniform(0, args.longest))
                if process.poll() is not None:
                    sys.exit(f"The run ended by itself:\n{output.read_text()}")
                kill(process, seen)
            read(output.read_text(), seen)
            check(folder, seen)
            print(f"{seen.kills}: {seen.durable} steps saved", file=sys.stderr, flush=True)
        done = subprocess.run(
            command(folder, cache, seen.durable + 20), capture_output=True, text=True, check=False
        )
        read(done.stdout + done.stderr, seen)
    print(f"{seen.kills} kills, {seen.saves} saves, {seen.starting} of the kills before a resume")
    print(f"{seen.durable} steps saved; the last process ended with code {done.returncode}")
    for what in ("lost", "damaged", "orphans"):
        found = getattr(seen, what)
        print(f"{what}: {len(found)}", *found, sep="\n  ")


if __name__ == "__main__":
    main()
