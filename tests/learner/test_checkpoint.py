"""Checkpoints: round trip, damage, kills, old ones removed, partial loading."""

import errno
import json
import os
import resource
import signal
import stat
import struct
import subprocess
import sys
import textwrap
import tracemalloc
import zlib

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file

from reverie.learner.checkpoints import checkpoint
from reverie.learner.checkpoints.checkpoint import Checkpointer, CheckpointError, locate

ARRAYS = {
    "params/enc/kernel": np.arange(6, dtype=np.float32).reshape(2, 3),
    "opt/updates": np.array(7, np.int32),
    "latent": np.array([1.5, -2.0], ml_dtypes.bfloat16),
}
OTHERS = {
    "half": np.array([1.5, -2.0], np.float16),
    "seeds": np.array([[1, 2]], np.uint32),
    "first": np.array([True, False]),
    "image": np.arange(4, dtype=np.uint8),
    "empty": np.zeros((0, 2)),
    "columns": np.arange(6).reshape(2, 3).T,
    "strided": np.arange(6)[::2],
    "reversed": np.arange(3, dtype=">i4"),
}


def files(folder):
    return sorted(folder.glob("*.safetensors"))


def assert_equal(found, expected):
    assert sorted(found) == sorted(expected)
    for name, value in expected.items():
        assert found[name].dtype == value.dtype.newbyteorder("=")
        np.testing.assert_array_equal(found[name], value)


def test_round_trip_keeps_values_and_types(tmp_path):
    checkpointer = Checkpointer(tmp_path / "checkpoints")
    assert checkpointer.restore() is None
    checkpointer.save(120, {**ARRAYS, **OTHERS}, {"updates": 7, "rest": [1, 2]}, OTHERS)
    restored = checkpointer.restore()
    assert restored.step == 120
    assert restored.meta == {"updates": 7, "rest": [1, 2]}
    assert_equal(restored.arrays, {**ARRAYS, **OTHERS})
    assert_equal(restored.held, OTHERS)


def test_anyone_can_read_the_files(tmp_path):
    Checkpointer(tmp_path).save(1, ARRAYS, {"updates": 7}, OTHERS)
    folder = tmp_path / "000000000001"
    assert_equal(load_file(folder / "agent.safetensors"), ARRAYS)
    assert_equal(load_file(folder / "held.safetensors"), OTHERS)
    assert json.loads((folder / "meta.json").read_text()) == {"format": 2, "updates": 7}
    manifest = json.loads((folder / "manifest.json").read_text())
    for name, (size, checksum) in manifest.items():
        content = (folder / name).read_bytes()
        assert (size, checksum) == (len(content), zlib.crc32(content))
    assert {*manifest, "manifest.json"} == {path.name for path in folder.iterdir()}
    assert len({path.stat().st_mode for path in folder.iterdir()}) == 1


def test_a_file_system_on_which_no_folder_can_be_synced_holds_checkpoints(tmp_path, monkeypatch):
    fsync = os.fsync

    def refuse(handle):
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(errno.EINVAL, "Invalid argument")
        fsync(handle)

    monkeypatch.setattr(os, "fsync", refuse)
    Checkpointer(tmp_path).save(1, ARRAYS, {})
    assert_equal(Checkpointer(tmp_path).restore().arrays, ARRAYS)


def test_some_arrays_are_read_without_the_others(tmp_path):
    arrays = {"params/x": np.ones(3), "states/x": np.ones(3), "opt/x": np.ones(1 << 24)}
    Checkpointer(tmp_path).save(1, arrays, {}, {"x": np.ones(3)})
    tracemalloc.start()
    found = checkpoint.newest(tmp_path, ("params/", "states/"))
    assert tracemalloc.get_traced_memory()[1] < 4 << 20
    tracemalloc.stop()
    assert sorted(found.arrays) == ["params/x", "states/x"]
    assert found.held == {}


def rewrite(folder, name, content):
    """Changes a file, and its checksum as whoever makes a folder can."""
    (folder / name).write_bytes(content)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest[name] = [len(content), zlib.crc32(content)]
    (folder / "manifest.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize("meta", [{}, {"format": 1}, {"format": 3}, {"format": "\n" * 100}])
def test_another_format_is_refused_in_one_line(tmp_path, meta):
    Checkpointer(tmp_path).save(1, ARRAYS, {})
    Checkpointer(tmp_path).save(2, ARRAYS, {})
    rewrite(tmp_path / "000000000002", "meta.json", json.dumps(meta).encode())
    for read in (Checkpointer(tmp_path).restore, lambda: checkpoint.newest(tmp_path)):
        with pytest.raises(CheckpointError, match=r"000000000002 has format .*another logdir") as e:
            read()
        assert "\n" not in str(e.value)


def header(text, length=None):
    return struct.pack("<Q", len(text) if length is None else length) + text


def entry(shape, start, stop, dtype="F32"):
    return header(
        json.dumps({"x": {"dtype": dtype, "shape": shape, "data_offsets": [start, stop]}}).encode()
    )


HOSTILE = {
    "no header": b"",
    "header as long as memory": header(b"{}", 1 << 62),
    "header of negative length": header(b"{}", (1 << 64) - 1),
    "header longer than the file": header(b"{}", 90_000_000),
    "nested header": header(b"[" * 1_000_000),
    "more entries than bytes": entry([1 << 50], 0, 4) + b"1234",
    "more bytes than the file has": entry([1 << 40], 0, 1 << 42),
    "product that overflows": entry([1 << 40, 1 << 40], 0, 0),
    "negative shape": entry([-1], 0, 4) + b"1234",
    "stop before start": entry([1], 4, 0) + b"1234",
    "type that is none": entry([1], 0, 4, "O") + b"1234",
    "type of half bytes": entry([8], 0, 4, "F4") + b"1234",
}


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("file", ["agent.safetensors", "held.safetensors"])
def test_hostile_files_take_no_memory(tmp_path, file, name):
    Checkpointer(tmp_path).save(1, ARRAYS, {})
    rewrite(tmp_path / "000000000001", file, HOSTILE[name])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(CheckpointError, match="000000000001 is no checkpoint that can be read"):
        Checkpointer(tmp_path).restore()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < before + 50_000


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


def test_a_run_that_goes_on_before_damaged_ones_keeps_what_it_saves(tmp_path):
    checkpointer = Checkpointer(tmp_path)
    for keep, step in (9, 1), (9, 5), (9, 6):  # As one that is killed before it removes a third.
        Checkpointer(tmp_path, keep).save(step, ARRAYS, {"step": step})
    for name in ("000000000005", "000000000006"):
        truncate(files(tmp_path / name)[0])
    assert checkpointer.restore().step == 1
    checkpointer.save(2, ARRAYS, {"step": 2})
    assert checkpointer.restore().step == 2
    assert checkpointer.steps() == [1, 2]


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
        from reverie.learner.checkpoints import checkpoint

        checkpointer = checkpoint.Checkpointer(pathlib.Path(sys.argv[1]))
        arrays = {"x": np.arange(10.0)}
        checkpointer.save(1, arrays, {"step": 1})
        checkpoint.sync = lambda path: os.kill(os.getpid(), signal.SIGKILL)
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

    def read_while_saving(folder, prefixes, place):
        for step in busy:
            checkpointer.save(step, ARRAYS, {})
            break
        return read(folder, prefixes)

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
