"""Times the way from starting the command to the first update."""

import pathlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from typing import Any

from cases import BenchError, startup_words
from processes import failure, measure_product

from reverie.track.sinks.jsonl import METRICS, read_jsonl

PERIOD = 0.05
"""Seconds between metrics of the measured run, and with it the error of the times."""

PATIENCE = 1800.0
"""Seconds after which a run without an update is given up."""

LOSS = "train/loss/"
"""Metrics with this prefix come from an update that has finished."""


def measure_startup(size: str = "size1m", words: Sequence[str] = ()) -> dict[str, Any]:
    """Starts a training run twice, with an empty compilation cache and with the filled one.

    Args:
        size: Block of the model size.
        words: Words of the configuration, laid over those of `startup_words`.

    Returns:
        `size`, `command` and, for `cold` and `warm`: `first_step_s`, seconds from starting the
        process to the end of the first environment step; `first_update_s`, to the end of the first
        update; `steps`, environment steps by then; `g_s`, seconds of a product, the mean of before
        and after.
    """
    options = [*startup_words(size), *words]
    with tempfile.TemporaryDirectory(prefix="reverie-bench-") as folder:
        root = pathlib.Path(folder)
        before = measure_product(words)
        cold = _measure_run(options, root / "a", root / "cache")
        between = measure_product(words)
        warm = _measure_run(options, root / "b", root / "cache")
        after = measure_product(words)
    cold["g_s"], warm["g_s"] = (before + between) / 2, (between + after) / 2
    command = " ".join(["reverie train", *options])
    return {"size": size, "command": command, "cold": cold, "warm": warm}


def _measure_run(options: list[str], scratch: pathlib.Path, cache: pathlib.Path) -> dict[str, Any]:
    """Starts a run, waits for its first update and kills it."""
    logdir = scratch / "run"
    scratch.mkdir()
    own = ["--logdir", str(logdir), "--jax.cache_dir", str(cache)]
    own += ["--logger.outputs", "jsonl", "--run.log_every", str(PERIOD)]
    command = [sys.executable, "-m", "reverie", "train", *options, *own]
    with open(scratch / "stderr", "w+b") as stderr:
        start = time.time()
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=stderr
        )
        try:
            records = _await_update(process, logdir / METRICS)
        finally:
            # Its environment processes notice, and end too.
            process.kill()
            process.wait()
        if not _updated(records):
            stderr.seek(0)
            raise failure("start-up", process.returncode, stderr.read())
    first, last = records[0], next(record for record in records if _has_loss(record))
    return {
        "first_step_s": first["time"] - start,
        "first_update_s": last["time"] - start,
        "steps": last["step"],
    }


def _await_update(process: subprocess.Popen, metrics: pathlib.Path) -> list[dict[str, Any]]:
    """Metrics up to those of the first update, or all if the process ends before."""
    end = time.monotonic() + PATIENCE
    while True:
        running = process.poll() is None
        records = read_jsonl(metrics) if metrics.exists() else []
        if _updated(records) or not running:
            return records
        if time.monotonic() > end:
            raise BenchError(f"The run made no update in {PATIENCE:.0f} seconds.")
        time.sleep(PERIOD)


def _updated(records: list[dict[str, Any]]) -> bool:
    return any(map(_has_loss, records))


def _has_loss(record: dict[str, Any]) -> bool:
    return any(key.startswith(LOSS) for key in record)
