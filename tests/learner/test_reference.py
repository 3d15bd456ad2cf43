"""Checkpoints of the original implementation: what is read of a file, and what never happens."""

import io
import os
import pickle

import ml_dtypes
import numpy as np
import pytest

from reverie.learner.checkpoints import reference
from reverie.learner.checkpoints.checkpoint import CheckpointError
from reverie.learner.checkpoints.reference_names import convert

ARRAYS = [
    np.arange(3).astype(ml_dtypes.bfloat16),
    np.arange(6.0).reshape((2, 3), order="F"),
    np.arange(6, dtype=">i4").reshape(2, 3).T,
    np.float32(3),
    np.array(True),
]


def folder_with(tmp_path, content):
    (tmp_path / "agent.pkl").write_bytes(content)
    return tmp_path


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("array", ARRAYS, ids=lambda x: f"{x.dtype}{x.shape}")
def test_arrays_of_every_kind_and_protocol(tmp_path, array, protocol):
    content = {"params": {"a": array, "again": array}, "counters": {"list": [1, (2.0, None)]}}
    step, found = reference.read(folder_with(tmp_path, pickle.dumps(content, protocol)))
    assert step == 0
    for value in found.values():
        assert value.shape == array.shape
        assert value.dtype == array.dtype.newbyteorder("=")
        np.testing.assert_array_equal(value, array)


class Calls:
    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


class Sets:
    """Pickles as a function of numpy's whose attributes are set."""

    def __reduce__(self):
        return np.dtype, ("f4", False, True), {"state": "x"}


def hostile():
    touch = f"from pathlib import Path; Path({os.fspath('touched')!r}).touch()"
    yield pickle.dumps({"params": {"a": Calls(exec, touch)}})
    yield pickle.dumps({"params": {"a": Calls(os.system, "touch touched")}})
    yield pickle.dumps({"params": {}, "counters": Calls(eval, touch)})
    yield pickle.dumps(Calls(getattr, np.ndarray, "dump"))
    yield pickle.dumps({"params": {"a": np.array([{}], object)}})
    yield pickle.dumps({"params": {"a": np.zeros(2, [("x", "f4")])}})
    yield pickle.dumps({"params": {"a": Sets()}})
    yield pickle.dumps({"params": {"a": np.dtype("f4")}})
    yield pickle.dumps({"params": {"a": [1.0]}})
    yield pickle.dumps([])
    # More bytes, memory places and numbers than there are.
    yield b"\x80\x04\x95" + (1 << 62).to_bytes(8, "little") + b"."
    yield b"\x80\x04\x8e" + (1 << 45).to_bytes(8, "little") + b"."
    yield b"\x80\x05\x96" + (1 << 45).to_bytes(8, "little") + b"."
    yield b"\x80\x04}r\xff\xff\xff\xff."
    # A change of what the next file would call.
    yield b"cnumpy\ndtype\n}X\x06\x00\x00\x00valueK\x01sb."
    yield b"cnumpy\ndtype\nN}X\x06\x00\x00\x00_callK\x01s\x86b."
    yield b""


@pytest.mark.parametrize("content", list(hostile()))
def test_nothing_else_is_read_or_run(tmp_path, monkeypatch, content):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError, match=r"agent\.pkl is damaged, or it holds something else"):
        reference.read(folder_with(tmp_path, content))
    assert not (tmp_path / "touched").exists()


def test_an_array_larger_than_its_bytes_is_refused(tmp_path):
    content = pickle.dumps({"params": {"a": np.zeros(7, np.float32)}}, 4)
    claimed = content.replace(b"K\x07", b"\x8a\x06\x00\x00\x00\x00\x00\x40")
    assert claimed != content
    with pytest.raises(CheckpointError, match="an array of the shape"):
        reference.read(folder_with(tmp_path, claimed))


def test_the_file_of_a_reader_is_never_asked_for_more_than_it_has():
    bounded = reference._Bounded(io.BytesIO(b"abc"), 3)
    assert bounded.read(2) == b"ab"
    with pytest.raises(EOFError):
        bounded.read(2)


def complete(folder, name, done=True):
    (folder / name).mkdir(parents=True)
    (folder / name / "agent.pkl").touch()
    if done:
        (folder / name / "done").touch()
    return folder / name


def test_the_newest_complete_folder_is_found(tmp_path):
    ckpt = tmp_path / "ckpt"
    assert reference.locate(tmp_path) is None
    old = complete(ckpt, "20250101T000000F000000")
    new = complete(ckpt, "20260101T000000F000000-000000012")
    complete(ckpt, "20260201T000000F000000", done=False)
    (ckpt / "latest").write_text(old.name)
    assert reference.locate(tmp_path) == reference.locate(ckpt) == old
    assert reference.locate(new) == new
    # Written before it was complete, or to lead elsewhere.
    for name in ("20260201T000000F000000", "../../elsewhere", "", "\0"):
        (ckpt / "latest").write_text(name)
        assert reference.locate(tmp_path) == new
    for path in (old, new):
        (path / "done").unlink()
    with pytest.raises(CheckpointError, match="no complete checkpoint"):
        reference.locate(tmp_path)


def test_every_depth_of_the_decoder_is_counted_from_the_latents():
    params = {f"dec/conv{i}/kernel": np.full(1, i) for i in range(4)}
    params |= {"dec/imgout/kernel": np.full(1, -1), "dec/conv0norm/scale": np.full(1, 10)}
    names = convert(params, None)
    stages = "params/heads/dec/image/stages"
    order = [int(names[f"{stages}/{i}/conv/kernel"][0]) for i in range(5)]
    assert order == [3, 2, 1, 0, -1]
    assert names[f"{stages}/3/norm/scale"][0] == 10


def test_normalizers_and_unknown_names():
    params = {"retnorm/lo/value": 1, "valnorm/sqrs/value": 2, "advnorm/corr/value": 3}
    params |= {"new/thing": 4, "slowval_count/value": 5, "opt/step/value": 6}
    assert convert(params, None) == {  # type: ignore[arg-type]
        "states/actor_critic/norms/ret/first": 1,
        "states/actor_critic/norms/val/second": 2,
        "states/actor_critic/norms/adv/weight": 3,
        "params/new/thing": 4,
    }
