"""Chunk files whose images are compressed; the model test of replay runs on them too."""

import functools
import sys

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from reverie.replay.files import format
from reverie.replay.files.format import DamagedFile, File, MissingCodecError
from reverie.replay.files.storage import DiskStorage, RamStorage
from reverie.replay.replay import Replay
from reverie.spaces import Space

pytest.importorskip("lz4")

SPACES = {
    "image": Space("image", (8, 8, 3), "uint8"),
    "noise": Space("image", (8, 8, 1), "uint8"),
    "map": Space("continuous", (4, 4, 1), "float32"),
    "vector": Space("continuous", (48,), "float32"),
    "latent/map": Space("discrete", (8, 8, 3), "uint8", (4,) * 192),
}


def pictures(rows, seed=0):
    """Images `[rows, 8, 8, 3]` of few colours, which compress."""
    rng = np.random.default_rng(seed)
    return np.repeat(rng.integers(0, 4, (rows, 8, 1, 3), np.uint8), 8, 2)


def noise(rows, shape=(8, 8, 1)):
    """Images that do not compress."""
    return np.random.default_rng(1).integers(0, 256, (rows, *shape), np.uint8)


def storage_of(kind, folder, compress=True):
    if kind == "ram":
        return functools.partial(RamStorage, compress=compress)
    return functools.partial(DiskStorage, folder=folder, ram=1 << 20, compress=compress)


def make_replay(storage, **kwargs):
    wanted = {"length": 3, "capacity": 1000, "chunksize": 20, "latents": ["latent/map"]}
    return Replay(SPACES, storage=storage, **(wanted | kwargs))


def fill(replay, start, count):
    frames, static = pictures(start + count), noise(start + count)
    for t in range(start, start + count):
        step = {
            "image": frames[t : t + 1],
            "noise": static[t : t + 1],
            "map": np.zeros((1, 4, 4, 1), np.float32),
            "vector": np.full((1, 48), t, np.float32),
            "latent/map": np.zeros((1, 8, 8, 3), np.uint8),
            "reward": np.array([t], np.float32),
            "is_first": np.array([t == start]),
            "is_last": np.zeros(1, bool),
            "is_terminal": np.zeros(1, bool),
        }  # fmt: skip
        replay.add({key: value[None] for key, value in step.items()}, range(1))


def times_drawn(replay, count=500):
    """The steps that can be drawn, whose images are compared with what was added."""
    batch, _ = replay.gather(replay.plan(count, probe=np.random.default_rng(0)))
    times = batch["reward"].astype(int)
    np.testing.assert_array_equal(batch["image"], pictures(times.max() + 1)[times])
    np.testing.assert_array_equal(batch["noise"], noise(times.max() + 1)[times])
    return set(times.ravel().tolist())


def codecs(folder):
    """Per serial the keys of its chunk file that are compressed."""
    found = {}
    for path in sorted(folder.glob("*.chunk")):
        arrays = File(path).arrays
        found[int(path.stem)] = {key for key, entry in arrays.items() if "codec" in entry}
    return found


ROWS = st.integers(0, 40)
SHAPES = st.sampled_from([(), (1,), (5,), (4, 4, 3), (64, 64, 3), (3, 0, 2)])


@settings(deadline=None, max_examples=60)
@given(rows=ROWS, shape=SHAPES, dtype=st.sampled_from(["uint8", "float32"]), data=st.data())
@example(rows=8, shape=(64, 64, 3), dtype="uint8", data=None)
@example(rows=9, shape=(64, 64, 3), dtype="uint8", data=None)
def test_any_rows_are_those_of_a_plain_file(tmp_path_factory, rows, shape, dtype, data):
    # Half of the rows compress.
    array = noise(rows, shape).astype(dtype)
    array[::2] = 7
    path = tmp_path_factory.mktemp("codec") / "file"
    format.write(path, {}, {"before": array, "key": array, "after": array}, compress=["key"])
    _, arrays = format.read(path)
    for found in arrays.values():
        assert (found.dtype, found.shape) == (array.dtype, array.shape)
        np.testing.assert_array_equal(found, array)
    file = File(path)
    ranges = [(0, rows), (rows, 0), (max(0, rows - 1), min(rows, 1))]
    if data is not None:
        start = data.draw(st.integers(0, rows))
        ranges.append((start, data.draw(st.integers(0, rows - start))))
    for start, count in ranges:
        target = {key: np.full((count, *shape), 3, dtype) for key in arrays}
        file.read(start, target)
        for found in target.values():
            np.testing.assert_array_equal(found, array[start : start + count])
        cut = {"key": np.full((count, *shape), 3, dtype)}
        file.load(cut)
        np.testing.assert_array_equal(cut["key"], array[:count])


def test_what_does_not_compress_takes_no_more_than_before(tmp_path):
    for array, most in ((noise(50), 50 * 64), (np.zeros((50, 8, 8, 1), np.uint8), 200)):
        format.write(tmp_path / "file", {}, {"key": array}, compress=["key"])
        assert File(tmp_path / "file").arrays["key"]["bounds"][-1] <= most


@pytest.mark.parametrize("rows", [7, 9])
def test_a_block_of_another_size_is_damaged(tmp_path, rows):
    path = tmp_path / "file"
    format.write(path, {}, {"key": np.repeat(pictures(1), rows, 0).reshape(1, -1)}, ["key"])
    file, target = File(path), np.empty((8, 8, 8, 3), np.uint8)
    file.arrays["key"]["shape"] = list(target.shape)
    for read in (file.load, lambda targets: file.read(0, targets)):
        with pytest.raises(DamagedFile, match="damaged array 'key'"):
            read({"key": target})


def test_a_block_that_was_altered_while_in_use_is_an_error(tmp_path):
    path = tmp_path / "file"
    format.write(path, {}, {"key": pictures(20)}, compress=["key"])
    file = File(path)
    start = file.position["key"] + file.arrays["key"]["bounds"][1]
    content = bytearray(path.read_bytes())
    for value in (0, 255):
        content[start : start + 40] = bytes([value]) * 40
        path.write_bytes(content)
        with pytest.raises(DamagedFile, match="damaged array 'key'"):
            file.read(10, {"key": np.empty((2, 8, 8, 3), np.uint8)})
    rows = np.empty((8, 8, 8, 3), np.uint8)
    file.read(0, {"key": rows})
    np.testing.assert_array_equal(rows, pictures(20)[:8])


@pytest.mark.parametrize("kind", ["ram", "disk"])
def test_only_images_are_compressed(tmp_path, kind):
    storage = storage_of(kind, tmp_path)
    replay = make_replay(storage)
    fill(replay, 0, 50)
    replay.save(tmp_path).wait()
    assert codecs(tmp_path) == {serial: {"image", "noise"} for serial in range(3)}
    assert times_drawn(replay) == set(range(50))
    files = [path.stat().st_size for path in sorted(tmp_path.glob("*.chunk"))]
    # The newest chunk is still in memory.
    assert replay.stats()["disk_bytes"] == (sum(files[:2]) if kind == "disk" else 0)
    replay.close()


def test_a_run_may_begin_and_cease_to_compress(tmp_path):
    plan = [("disk", True), ("disk", False), ("ram", True), ("ram", False), ("disk", True)]
    for run, (kind, compress) in enumerate(plan):
        replay = make_replay(storage_of(kind, tmp_path, compress))
        if run:
            loaded = replay.load(tmp_path)
            assert (loaded.steps, loaded.damaged) == (25 * run, ())
            assert times_drawn(replay) == set(range(25 * run))
        fill(replay, 25 * run, 25)
        assert times_drawn(replay, 1500) == set(range(25 * (run + 1)))
        replay.save(tmp_path).wait()
        replay.close()
    compressed = [bool(keys) for _, keys in sorted(codecs(tmp_path).items())]
    assert compressed == [compress for _, compress in plan for _ in range(2)]


@pytest.mark.parametrize("damage", ["flipped", "cut"])
@pytest.mark.parametrize("kind", ["ram", "disk"])
def test_damaged_images_are_skipped_and_reported(tmp_path, kind, damage, caplog):
    storage = storage_of(kind, tmp_path)
    replay = make_replay(storage)
    fill(replay, 0, 80)
    replay.save(tmp_path).wait()
    replay.close()
    path = tmp_path / "0000000001.chunk"
    header, content = File(path), bytearray(path.read_bytes())
    at = header.position["image"] + header.arrays["image"]["bounds"][2] - 5
    content[at] ^= 4
    path.write_bytes(content if damage == "flipped" else content[:at])
    replay = make_replay(storage)
    assert str(path) in replay.load(tmp_path).damaged[0]
    assert times_drawn(replay) == {*range(20), *range(40, 80)}
    assert replay.stats()["damaged_chunks"] == 1
    assert str(path) in caplog.text
    replay.close()


def test_without_the_package_files_are_not_called_damaged(tmp_path, monkeypatch):
    replay = make_replay(storage_of("ram", tmp_path))
    fill(replay, 0, 30)
    replay.save(tmp_path).wait()
    replay.close()
    monkeypatch.setitem(sys.modules, "lz4.block", None)
    expected = r"0000000000.chunk, written with replay.compress, needs the package lz4: pip install"
    for kind in ("ram", "disk"):
        with pytest.raises(MissingCodecError, match=expected):
            make_replay(storage_of(kind, tmp_path, compress=False)).load(tmp_path)
    assert len(list(tmp_path.glob("*.chunk"))) == 2


def test_a_codec_of_another_version_is_named(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(format, "CODEC", "zstd")
        format.write(tmp_path / "file", {}, {"key": pictures(3)}, compress=["key"])
    with pytest.raises(MissingCodecError, match="needs 'zstd', which this version does not know"):
        File(tmp_path / "file")
