"""Starts measured processes and waits for what they find."""

import dataclasses
import json
import pathlib
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from typing import Any, Literal

from cases import BenchError, PolicyCase, TrainCase

CHILD = pathlib.Path(__file__).with_name("child.py")

TAIL = 15
"""Lines of a failed process that are shown."""


def measure_train(case: TrainCase) -> dict[str, Any]:
    """One row of train steps, from two processes that share a compilation cache.

    The first finds the cache empty and makes all updates. The second finds its program there.

    Returns:
        The record of `measure_train_step`, with the names of its figures that differ between the
        two processes ending in `_cold` and `_warm`.
    """
    with tempfile.TemporaryDirectory(prefix="reverie-bench-") as folder:
        words = (*case.words, "--jax.cache_dir", folder)
        case = dataclasses.replace(case, words=words)
        cold = run_child("train", case)
        warm = run_child("first_update", case)
    record = {"name": case.name, "size": case.size, "obs": case.obs, **cold}
    for key, value in warm.items():
        record[f"{key}_cold"] = record.pop(key)
        record[f"{key}_warm"] = value
    return record


def measure_policy(case: PolicyCase) -> dict[str, Any]:
    """One row of policy calls, from a process bound to one core."""
    record = run_child("policy", case)
    return {"name": case.name, "size": case.size, "obs": case.obs, "envs": case.envs, **record}


def measure_product(words: Sequence[str] = ()) -> float:
    """Seconds of the product G, now, on the device that trains."""
    return run_child("product", TrainCase("size1m", "vector", 1, tuple(words)))["g_s"]


def run_child(
    kind: Literal["train", "first_update", "policy", "product"], case: TrainCase | PolicyCase
) -> dict[str, Any]:
    """Measures in a process of its own; returns its record.

    Raises:
        BenchError: If the process fails.
    """
    with tempfile.TemporaryDirectory(prefix="reverie-bench-") as folder:
        output = pathlib.Path(folder) / "record.json"
        spec = {
            "kind": kind,
            "case": dataclasses.asdict(case),
            "scratch": folder,
            "output": str(output),
        }
        command = [sys.executable, str(CHILD), json.dumps(spec)]
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        if done.returncode:
            raise failure(case.name, done.returncode, done.stderr)
        return json.loads(output.read_text())


def failure(name: str, code: int, stderr: bytes) -> BenchError:
    """The error of a process that ended too early."""
    lines = stderr.decode(errors="replace").strip().splitlines()
    end = f"was killed by signal {-code}" if code < 0 else f"failed with exit code {code}"
    advice = " It may have run out of memory." if code == -9 else ""
    return BenchError(f"The process that measured {name} {end}.{advice}", "\n".join(lines[-TAIL:]))
