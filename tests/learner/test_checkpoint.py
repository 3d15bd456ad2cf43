"""Checkpoints: round trip, damage, kills, old ones removed, partial loading."""

import json
import os
import signal
import subprocess
import sys
import textwrap

import ml_dtypes
import numpy as np
import pytest

from reverie.learner import Checkpointer, CheckpointError, checkpoint
from reverie.learner.checkpoint import locate

ARRAYS = {
    "params/enc/kernel": np.arange(6, dtype=np.float32).reshape(2, 3),
    "opt/updates": np.array(7, np.int32),
    "latent": np.array([1.5, -2.0], ml_dtypes.bfloat16),
}


def files(folder):
    return sorted(p for p in (folder / "arrays").rglob("*") if p.is_file() and p.stat().st_size > 9)


def test_round_trip_keeps_values_and_types(tmp_path):
    checkpointer = Checkpointer(tmp_path / "checkpoints")
    assert checkpointer.restore() is None
    checkpointer.save(120, {**ARRAYS, "empty": np.zeros((0, 2))}, {"updates": 7, "rest": [1, 2]})
    restored = checkpointer.restore()
    assert restored.step == 120
    assert restored.meta == {"updates": 7, "rest": [1, 2]}
    assert sorted(restored.arrays) == sorted(ARRAYS)
    for name, value in ARRAYS.items():
        assert restored.arrays[name].dtype == value.dtype
        np.testing.assert_array_equal(restored.arrays[name], value)


def test_agent_without_arrays_can_be_saved(tmp_path):
    checkpointer = Checkpointer(tmp_path)
    checkpointer.save(3, {}, {"calls": 4})
    assert checkpointer.restore().arrays == {}
    assert checkpointer.restore().meta == {"calls": 4}


def test_newest_wins_and_two_are_kept(tmp_path):
    checkpointer = Checkpointer(tmp_path)
    for step in (5, 20, 100):
        checkpointer.save(step, ARRAYS, {"step": step})
    assert checkpointer.steps() == [20, 100]
    assert checkpointer.restore().meta == {"step": 100}


def test_saving_the_same_step_again_replaces_it(tmp_path):
    checkpointer = Checkpointer(tmp_path)
    checkpointer.save(5, ARRAYS, {"take": 1})
    checkpointer.save(5, ARRAYS, {"take": 2})
    assert checkpointer.steps() == [5]
    assert checkpointer.restore().meta == {"take": 2}


def flip_a_bit(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def truncate(path):
    path.write_bytes(path.read_bytes()[:-3])


@pytest.mark.parametrize("harm", [flip_a_bit, truncate, os.remove])
def test_damaged_newest_is_skipped_with_a_message(tmp_path, caplog, harm):
    checkpointer = Checkpointer(tmp_path)
    checkpointer.save(1, ARRAYS, {"step": 1})
    checkpointer.save(2, ARRAYS, {"step": 2})
    harm(files(tmp_path / "000000000002")[-1])
    assert checkpointer.restore().meta == {"step": 1}
    assert "000000000002" in caplog.text
    assert "files" in caplog.text


def test_only_damaged_ones_is_an_error_and_not_a_fresh_start(tmp_path):
    checkpointer = Checkpointer(tmp_path)
    checkpointer.save(1, ARRAYS, {})
    (tmp_path / "000000000001" / "manifest.json").unlink()
    with pytest.raises(CheckpointError, match=r"manifest\.json is missing.*rename"):
        checkpointer.restore()


def test_killed_while_saving_leaves_the_previous_one(tmp_path):
    script = textwrap.dedent(
        """
        import os, pathlib, signal, sys
        import numpy as np
        from reverie.learner import checkpoint

        checkpointer = checkpoint.Checkpointer(pathlib.Path(sys.argv[1]))
        arrays = {"x": np.arange(10.0)}
        checkpointer.save(1, arrays, {"step": 1})
        checkpoint._flush = lambda folder: os.kill(os.getpid(), signal.SIGKILL)
        checkpointer.save(2, arrays, {"step": 2})
        """
    )
    process = subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=False)
    assert process.returncode == -signal.SIGKILL
    assert len(list(tmp_path.iterdir())) == 2
    checkpointer = Checkpointer(tmp_path)
    assert checkpointer.restore().meta == {"step": 1}
    checkpointer.save(3, ARRAYS, {"step": 3})
    assert sorted(p.name for p in tmp_path.iterdir()) == ["000000000001", "000000000003"]


def test_newest_survives_a_run_that_saves_meanwhile(tmp_path, monkeypatch):
    checkpointer = Checkpointer(tmp_path / "checkpoints", keep=1)
    checkpointer.save(5, ARRAYS, {})
    read, busy = checkpoint.read, iter([10, 15])

    def read_while_saving(folder):
        for step in busy:
            checkpointer.save(step, ARRAYS, {})
            break
        return read(folder)

    monkeypatch.setattr(checkpoint, "read", read_while_saving)
    assert checkpoint.newest(tmp_path).step == 15
    with pytest.raises(CheckpointError, match="no valid checkpoint"):
        checkpoint.newest(tmp_path / "elsewhere")


def test_locate_takes_a_run_a_folder_or_one_checkpoint(tmp_path):
    folder = tmp_path / "checkpoints"
    checkpointer = Checkpointer(folder)
    checkpointer.save(1, ARRAYS, {})
    checkpointer.save(2, ARRAYS, {})
    newest = folder / "000000000002"
    assert locate(tmp_path) == locate(folder) == locate(newest) == newest
    flip_a_bit(files(newest)[0])
    assert locate(tmp_path) == folder / "000000000001"
    with pytest.raises(CheckpointError, match="damaged: changed files"):
        locate(newest)
    with pytest.raises(CheckpointError, match="no valid checkpoint"):
        locate(tmp_path / "elsewhere")


def test_unreadable_manifest_is_damage(tmp_path):
    checkpointer = Checkpointer(tmp_path)
    checkpointer.save(1, ARRAYS, {})
    (tmp_path / "000000000001" / "manifest.json").write_text(json.dumps({"a": 1})[:-1])
    with pytest.raises(CheckpointError, match="not readable"):
        checkpointer.restore()
