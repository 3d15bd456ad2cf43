"""Where replay lives and what it needs, seen from whole runs."""

import json
import sys
import time

import pytest

from reverie.disk import DiskFullError
from reverie.learner.checkpoints.checkpoint import Checkpointer
from reverie.replay.budget import BudgetError
from reverie.replay.files.format import MissingCodecError
from reverie.run.saved import saver
from reverie.run.scripts import launch

RANDOM = ("--task", "dummy_disc", "--random_agent", "true", "--run.save_every", "0")


def last_metrics(logdir):
    lines = (logdir / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines if "replay/steps" in line][-1]


def test_a_replay_on_disk_goes_on_in_ram_and_back(make_config, tmp_path):
    for steps, kind in ((400, "disk"), (600, "ram"), (800, "disk")):
        words = ["--run.steps", str(steps), "--replay.storage", kind, "--replay.ram_gb", "0.1"]
        launch(make_config(tmp_path, *RANDOM, *words))
        metrics = last_metrics(tmp_path)
        assert metrics["replay/steps"] == steps
        if steps == 800:  # What it finds is in its files; new chunks may wait.
            assert metrics["replay/disk_bytes"] > 200 * 64 * 64 * 3
        if kind == "ram":
            assert metrics["replay/ram_bytes"] > 200 * 64 * 64 * 3


def test_a_run_goes_on_with_compressed_images_and_without(make_config, tmp_path, capfd):
    pytest.importorskip("lz4")
    seen = set()
    for steps, kind, codec in ((400, "disk", "lz4"), (600, "ram", "none"), (800, "disk", "lz4")):
        words = ["--run.steps", str(steps), "--replay.storage", kind, "--replay.compress", codec]
        words += ["--logger.outputs", "[terminal, jsonl]"]
        launch(make_config(tmp_path, *RANDOM, *words))
        output = capfd.readouterr().out
        assert ("of disk before compression" in output) == (codec == "lz4")
        metrics = last_metrics(tmp_path)
        assert metrics["replay/steps"] == steps
        assert metrics["replay/damaged_chunks"] == 0
        new = set(tmp_path.glob("replay/*.chunk")) - seen
        packed = [b'"codec": "lz4"' in path.read_bytes() for path in new]
        assert packed
        assert packed == [codec == "lz4"] * len(packed)
        seen |= new


def test_compression_without_its_package_is_refused_before_anything_is_made(
    make_config, tmp_path, monkeypatch
):
    monkeypatch.setitem(sys.modules, "lz4.block", None)
    logdir = tmp_path / "run"
    with pytest.raises(MissingCodecError) as caught:
        launch(make_config(logdir, *RANDOM, "--replay.compress", "lz4"))
    assert str(caught.value) == (
        "--replay.compress lz4 needs the package lz4: "
        "pip install -c constraints.txt -e '.[compress]'"
    )
    assert not logdir.exists()


def test_a_run_killed_before_its_first_checkpoint_starts_again(command, tmp_path, capfd):
    words = ["train", "--configs", "debug", *RANDOM, "--replay.storage", "disk"]
    words += ["--logdir", str(tmp_path), "--logger.outputs", "terminal"]
    process = command(*words, "--run.steps", "1e6", "--run.duration", "400")
    while not list(tmp_path.glob("replay/*.chunk")):
        assert process.poll() is None
        time.sleep(0.02)
    process.kill()
    process.communicate()
    assert not (tmp_path / "checkpoints").exists()
    again = command(*words, "--run.steps", "100")
    output, errors = again.communicate(timeout=400)
    assert again.returncode == 0, errors
    assert "that did not reach a checkpoint was kept" in output + errors
    assert "Run finished after 100" in output + errors


def test_a_replay_that_cannot_fit_is_refused(make_config, tmp_path):
    words = ["--replay.size", "1e12", "--run.steps", "1e12"]
    for kind, place in {"ram": "in RAM", "auto": "on the disk"}.items():
        expected = rf"1,000,000,000,000 steps .* does not fit {place}"
        with pytest.raises(BudgetError, match=expected):
            launch(make_config(tmp_path / "new", *RANDOM, *words, "--replay.storage", kind))
    assert not (tmp_path / "new").exists()


def test_a_refused_replay_leaves_the_run_that_was_to_go_on_as_it_is(make_config, tmp_path):
    launch(make_config(tmp_path, *RANDOM, "--run.steps", "50"))
    before = (tmp_path / "config.yaml").read_text()
    with pytest.raises(BudgetError):
        launch(make_config(tmp_path, *RANDOM, "--replay.size", "1e12", "--run.steps", "1e12"))
    assert (tmp_path / "config.yaml").read_text() == before
    assert launch(make_config(tmp_path, *RANDOM, "--run.steps", "60")).steps == 60


def test_the_memory_of_evaluation_episodes_counts(make_config, tmp_path):
    words = ["--script", "train_eval", "--replay.eval_size", "1e12", "--run.steps", "50"]
    with pytest.raises(BudgetError, match=r"GB of it for evaluations .*replay\.eval_size"):
        launch(make_config(tmp_path / "new", *words, "--replay.storage", "ram"))
    assert not (tmp_path / "new").exists()
    # Without reports, or without an agent, nothing is kept.
    launch(make_config(tmp_path, *words, "--run.report_every", "0"))
    launch(make_config(tmp_path / "random", *words, *RANDOM))


def test_a_capacity_that_the_run_cannot_reach_is_not_refused(make_config, tmp_path, capfd):
    words = ["--replay.size", "1e12", "--logger.outputs", "terminal"]
    launch(make_config(tmp_path, *RANDOM, *words, "--run.steps", "50"))
    assert "50 steps of " in capfd.readouterr().out
    words += ["--run.steps", "1e12", "--run.duration", "0.01"]
    launch(make_config(tmp_path, *RANDOM, *words))
    assert "does not fit on the disk" in capfd.readouterr().out


def test_a_full_disk_stops_the_run_after_a_save_in_the_room_that_was_kept(
    make_config, tmp_path, monkeypatch, capfd
):
    words = [*RANDOM, "--logger.outputs", "terminal", "--run.steps", "1e9"]
    calls = []

    def free_space(folder):
        calls.append(folder)
        return 10**12 if len(calls) < 2 else 10**4

    with monkeypatch.context() as patch:
        patch.setattr(saver, "free_space", free_space)
        patch.setattr(saver, "LOOK_SECONDS", 0.1)
        with pytest.raises(DiskFullError, match="The disk is full"):
            launch(make_config(tmp_path, *words, "--run.duration", "400"))
    (step,) = Checkpointer(tmp_path / "checkpoints").steps()
    assert f"Saved at {step:,} environment steps" in capfd.readouterr().out
    launch(make_config(tmp_path, *words, "--run.steps", str(step)))
    assert f"Resumed at {step:,} environment steps" in capfd.readouterr().out


def test_a_short_run_needs_no_room_for_chunks_that_it_never_fills(
    make_config, tmp_path, monkeypatch
):
    monkeypatch.setattr(saver, "free_space", lambda folder: 50_000_000)
    words = ["--run.steps", "60", "--run.envs", "4", "--replay.chunksize", "1024"]
    assert launch(make_config(tmp_path, *RANDOM, *words)).steps == 60
