"""The benchmark of environments runs; what it measures is for people to read."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

SCRIPT = pathlib.Path(__file__).parents[2] / "benchmarks" / "envs.py"


@pytest.mark.parametrize("kind", ["dummies", pytest.param("atari", marks=pytest.mark.slow)])
def test_rates_of_all_contenders(kind):
    words = ["--envs", "2", "--seconds", "0.02", "--rounds", "1", "--pauses", "1", "--json"]
    if kind == "atari":
        pytest.importorskip("ale_py")
        words.append("--atari")
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, str(SCRIPT), *words]
    done = subprocess.run(command, capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(done.stdout.splitlines()[-1])["rows"]
    expected = (
        {"async", "ale_py"} if kind == "atari" else {"bare", "gymnasium_async", "sync", "async"}
    )
    assert expected <= row["steps_s"].keys()
    assert all(rate > 0 for rate in row["steps_s"].values())
