"""What W&B keeps of a run without a network, read with the records that W&B itself uses."""

import json
import re
import struct
import subprocess
import sys
import time

import numpy as np
import pytest

from reverie.track.logger import Logger
from reverie.track.sinks.base import kept
from reverie.track.sinks.registry import make_sinks

wandb = pytest.importorskip("wandb", reason="needs the extra wandb")
BLOCK = 32768


@pytest.fixture(autouse=True)
def offline(monkeypatch, tmp_path):
    monkeypatch.setattr("reverie.track.sinks.wandb.PATIENCE", 400.0)
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    # Nobody's settings and credentials.
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("WANDB_API_KEY", raising=False)


def write(folder, records, **options):
    step = 0
    sinks = make_sinks(["wandb"], folder, step=lambda: step, filter="", **options)
    with Logger(sinks, lambda: step) as logger:
        for step, metrics in records.items():  # noqa: B007 The logger reads it.
            logger.add(metrics)
            logger.write()


def read(folder):
    """The records of the transaction logs, one log per process."""
    return [read_log(path) for path in sorted(folder.glob("wandb/offline-run-*/*.wandb"))]


def read_log(path):
    end = time.monotonic() + 400
    while True:
        records = list(parse(path.read_bytes()))
        # The process of W&B writes the file a little later than the run is finished.
        if records and records[-1].HasField("exit"):
            return records
        assert time.monotonic() < end, "W&B did not finish its file"
        time.sleep(0.05)


def parse(data):
    """Records of a file that is, after seven bytes, a log of LevelDB: blocks of parts."""
    from wandb.proto import wandb_internal_pb2

    position, part = 7, b""
    while position + 7 <= len(data):
        if BLOCK - position % BLOCK < 7:
            position += BLOCK - position % BLOCK
            continue
        _, length, kind = struct.unpack_from("<IHB", data, position)
        part += data[position + 7 : position + 7 + length]
        position += 7 + length
        if kind in (1, 4):  # A whole record, or the last part of one.
            record = wandb_internal_pb2.Record()
            record.ParseFromString(part)
            yield record
            part = b""


def history(records):
    rows = []
    for record in records:
        if record.HasField("history"):
            items = record.history.item
            rows.append({i.key or "/".join(i.nested_key): json.loads(i.value_json) for i in items})
    return rows


def test_all_kinds_and_the_options_come_back(tmp_path):
    folder = tmp_path / "my run"
    image = np.zeros((8, 12, 1), np.uint8)
    video = np.zeros((4, 8, 12, 3), np.uint8)
    metrics = {"train/loss/dyn": 1.5, "phase": "warm", "a$b": 2, "error": np.ones(9)}
    media = {"image": image, "report/openloop/image": video}
    write(folder, {5: {**metrics, **media}}, options={"agent": {"opt": {"lr": 4e-5}}})
    (records,) = read(folder)
    (row,) = history(records)
    assert row["_step"] == 5
    assert (row["train/loss/dyn"], row["phase"], row["a$b"]) == (1.5, "warm", 2)
    assert row["error/_type"] == "histogram"
    assert row["image/_type"] == "image-file"
    assert row["report/openloop/image/_type"] == "video-file"
    (gif,) = folder.rglob("*.gif")
    assert gif.read_bytes().startswith(b"GIF89a")
    run = next(r.run for r in records if r.HasField("run"))
    config = {u.key: json.loads(u.value_json) for u in run.config.update}
    assert config["agent"] == {"opt": {"lr": 4e-5}}
    assert (run.display_name, run.project) == ("my run", "reverie")


def test_a_resume_keeps_the_id_of_the_run(tmp_path):
    write(tmp_path, {5: {"x": 1}})
    write(tmp_path, {6: {"x": 2}})
    first, second = (next(r.run.run_id for r in run if r.HasField("run")) for run in read(tmp_path))
    assert first == second
    assert [history(run)[0]["_step"] for run in read(tmp_path)] == [5, 6]


@pytest.mark.parametrize("text", ["", "../../x", "a b", "x" * 100, "\udcff"])
def test_a_damaged_id_is_replaced(tmp_path, text):
    path = tmp_path / "id.txt"
    path.write_bytes(text.encode(errors="surrogateescape"))
    assert kept(path, r"[\w-]{1,64}", "fresh") == "fresh"
    assert kept(path, r"[\w-]{1,64}", "newer") == "fresh"


def test_who_is_not_logged_in_is_told_before_the_run(monkeypatch, tmp_path):
    monkeypatch.setenv("WANDB_MODE", "online")
    words = ["train", "--configs", "debug", "--task", "dummy_disc", "--logger.outputs", "wandb"]
    command = [sys.executable, "-m", "reverie", *words, "--logdir", str(tmp_path / "run")]
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert re.search(r"reverie: .*`wandb login`.*WANDB_MODE=offline", done.stderr)
    assert not (tmp_path / "run").exists()
