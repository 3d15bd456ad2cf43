"""What Trackio keeps of a run on this machine, read from its database."""

import importlib.util
import json
import os
import sqlite3
import subprocess
import sys

import pytest

if importlib.util.find_spec("trackio") is None:
    pytest.skip("needs the extra trackio", allow_module_level=True)

WRITE = """
import pathlib, sys
import numpy as np
from reverie.track.logger import Logger
from reverie.track.sinks import background
from reverie.track.sinks.registry import make_sinks

steps, first = map(int, sys.argv[2].split(",")), int(sys.argv[3])
about = {"options": {"run": {"steps": 3}}, "first_step": first, "filter": ""}
step = 0
sinks = make_sinks(["trackio"], pathlib.Path(sys.argv[1]), step=lambda: step, **about)
background.PATIENCE = 400
with Logger(sinks, lambda: step) as logger:
    for step in steps:
        logger.add({"train/loss/dyn": step / 10, "text": "größe", "nan": float("nan")})
        logger.add({"report/video": np.zeros((3, 16, 16, 3), np.uint8), "odd\\nname": 1})
        logger.add({"image": np.full((16, 16, 1), 9, np.uint8), "errors": np.arange(5.0)})
        logger.write()
"""


def write(folder, *steps, first=0):
    """Writes in a process of its own, as Trackio reads its folder when it is imported."""
    words = [sys.executable, "-c", WRITE, str(folder), ",".join(map(str, steps)), str(first)]
    env = {**os.environ, "TRACKIO_DIR": str(folder.parent / "trackio")}
    subprocess.run(words, check=True, env=env, capture_output=True)


def rows(folder):
    with sqlite3.connect(folder.parent / "trackio" / "reverie.db") as database:
        found = database.execute("SELECT run_name, step, metrics FROM metrics ORDER BY id")
        return [(name, step, json.loads(metrics)) for name, step, metrics in found]


def test_all_kinds_arrive_and_a_resume_goes_on_with_the_run(tmp_path):
    run = tmp_path / "run"
    write(run, 10, 20)
    write(run, 20, 30, first=10)
    found = rows(run)
    assert [step for _, step, _ in found] == [10, 20, 30]
    (name,) = {name for name, _, _ in found}
    assert (run / "trackio_run.txt").read_text().strip() == name
    assert name.startswith("run-")
    metrics = found[-1][2]
    assert metrics["train/loss/dyn"] == 3.0
    assert metrics["text"] == "größe"
    assert metrics["odd\\nname"] == 1
    assert metrics["errors"]["_type"] == "trackio.histogram"
    media = tmp_path / "trackio" / "media"
    assert (media / metrics["image"]["file_path"]).read_bytes().startswith(b"\x89PNG")
    assert metrics["report/video"]["_type"] == "trackio.video"
    assert b"ftyp" in (media / metrics["report/video"]["file_path"]).read_bytes()[:12]
