"""What only a replay that lives on disk has to do; the rest runs in the tests of all storages."""

import contextlib
import errno
import functools
import os
import time

import numpy as np
import psutil
import pytest
from write_back import write_back

from reverie.disk import DiskFullError
from reverie.replay.batches import Batches
from reverie.replay.files.format import DamagedFile
from reverie.replay.files.storage import DiskStorage
from reverie.replay.replay import Replay
from reverie.spaces import Space

MB = 1 << 20


@pytest.fixture
def storage(tmp_path):
    return functools.partial(DiskStorage, folder=tmp_path, ram=MB)


def actions(replay, count=3000):
    batch, _ = replay.gather(replay.plan(count, probe=np.random.default_rng(0)))
    return {tuple(row) for row in batch["action"].tolist()}


def opened(folder):
    """How many files of a folder this process has open; other threads open others."""
    count = 0
    for number in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):  # Such as the one that lists them.
            count += os.readlink(f"/proc/self/fd/{number}").startswith(str(folder))
    return count


def settle(replay, folder):
    """Waits until everything that is finished is on disk."""
    replay.save(folder).wait()


def test_memory_stays_bounded_while_much_more_passes_through(tmp_path):
    image = Space("image", (64, 64, 3), "uint8")
    spaces = {"image": image, "latent/deter": Space("continuous", (256,), "float32")}
    storage = functools.partial(DiskStorage, folder=tmp_path, ram=40 * MB)
    replay = Replay(spaces, length=9, capacity=12_000, latents=["latent/deter"], storage=storage)
    off = np.zeros(4, bool)
    before, peak = psutil.Process().memory_info().rss, 0
    for t in range(5_000):
        number = np.full(4, t, np.float32)
        step = {
            "image": np.full((4, 64, 64, 3), t % 251, np.uint8),
            "latent/deter": np.repeat(number[:, None], 256, 1),
            "reward": number, "is_first": off, "is_last": off, "is_terminal": off,
        }  # fmt: skip
        replay.add({key: value[None] for key, value in step.items()}, range(4))
        if t % 50 == 49:
            batch, ids = replay.gather(replay.plan(8))
            assert (batch["image"][..., 0, 0, 0] == batch["reward"] % 251).all()
            latents = {"latent/deter": np.repeat(batch["reward"][..., None], 256, 2)}
            write_back(replay, ids, latents)
            peak = max(peak, psutil.Process().memory_info().rss - before)
    assert peak < 80 * MB
    stats = replay.stats()
    assert stats["ram_bytes"] < 45 * MB
    assert stats["disk_bytes"] > 120 * MB
    settle(replay, tmp_path)
    files = sum(path.stat().st_size for path in tmp_path.iterdir())
    assert files < 12_000 * (64 * 64 * 3 + 1024 + 7) * 1.05
    replay.close()


def test_a_plan_outlives_the_files_of_its_chunks(make_replay, fill, tmp_path):
    replay = make_replay(capacity=60, online=False)
    fill(replay, 1, 40)
    settle(replay, tmp_path)
    plan = replay.plan(50)
    expected, _ = replay.gather(plan)
    fill(replay, 1, 100, start=40)
    settle(replay, tmp_path)
    assert not (tmp_path / "0000000000.chunk").exists()
    handles = opened(tmp_path)
    batch, _ = replay.gather(plan)
    np.testing.assert_array_equal(batch["action"], expected["action"])
    np.testing.assert_array_equal(batch["latent/stoch"], expected["latent/stoch"])
    del plan
    assert opened(tmp_path) < handles


def test_nothing_with_a_name_is_left_of_the_scratch_file(fill, make_replay, tmp_path):
    storage = functools.partial(DiskStorage, folder=tmp_path, ram=MB, latents=0)
    replay = make_replay(storage=storage)
    fill(replay, 2, 50)
    settle(replay, tmp_path)
    names = {path.suffix for path in tmp_path.iterdir() if path.name != "state"}
    assert names == {".chunk", ".latents"}


def damage(path, position):
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)


def test_a_flipped_bit_costs_the_sequences_that_touch_it_and_no_others(
    make_replay, fill, tmp_path, caplog
):
    replay = make_replay(chunksize=2, online=True)
    fill(replay, 1, 16)
    settle(replay, tmp_path)
    damage(tmp_path / "0000000003.chunk", -64)
    other = make_replay(chunksize=2)
    assert "0000000003.chunk has a damaged array" in other.load(tmp_path).damaged[0]
    assert len(other) == 8
    plan = other.plan(4)
    batch, _ = other.gather(plan)
    # The fresh sequence 4 .. 7 is gone; the others wait in their order, none is lost.
    assert plan.online.tolist() == [True, True, True, False]
    assert batch["action"][:3, 0].tolist() == [0, 8, 12]
    assert actions(other) == {(t, t + 1, t + 2, t + 3) for t in (0, 1, 2, 8, 9, 10, 11, 12)}
    assert (other.stats()["damaged_chunks"], other.stats()["steps"]) == (1, 14)
    assert "0000000003.chunk has a damaged array" in caplog.text
    settle(other, tmp_path)
    assert not (tmp_path / "0000000003.chunk").exists()


def test_a_file_that_is_cut_while_in_use_is_an_error(make_replay, fill, tmp_path):
    replay = make_replay(online=False)
    fill(replay, 1, 9)
    settle(replay, tmp_path)
    os.truncate(tmp_path / "0000000000.chunk", 600)
    with pytest.raises(DamagedFile, match="cut off while it was in use"):
        replay.gather(replay.plan(20))


def test_a_full_disk_is_reported_by_add_and_nothing_is_lost(
    make_replay, fill, tmp_path, monkeypatch
):
    replay = make_replay(online=False)
    fill(replay, 1, 20)
    settle(replay, tmp_path)

    def refuse(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    def go_on():
        for t in range(20, 400_000):
            fill(replay, 1, 1, start=t)
            time.sleep(0.001)  # For the thread that writes.

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", refuse)
        with pytest.raises(DiskFullError, match="The disk is full") as caught:
            go_on()
        assert str(tmp_path) in str(caught.value)
        with pytest.raises(DiskFullError):
            replay.save(tmp_path).wait()
        saved = make_replay()
        assert saved.load(tmp_path).steps >= 20
        # The steps that found no room are still there.
        assert len(actions(replay)) == len(replay)
    settle(replay, tmp_path)
    again = make_replay()
    assert again.load(tmp_path).steps == replay.stats()["steps"]


def test_no_other_folder_and_no_replay_of_another_run(make_replay, fill, tmp_path):
    replay = make_replay()
    fill(replay, 1, 20)
    settle(replay, tmp_path)
    with pytest.raises(ValueError, match="lives on disk in"):
        replay.save(tmp_path / "elsewhere")
    with pytest.raises(FileExistsError, match="another run"):
        fill(make_replay(), 1, 1)


def test_a_stream_writes_latents_back_wherever_they_are(make_replay, fill, tmp_path):
    storage = functools.partial(DiskStorage, folder=tmp_path, ram=MB, latents=100)
    replay = make_replay(storage=storage, capacity=200, length=4)
    fill(replay, 2, 20)
    with Batches(replay, batch_size=8, batch_length=3) as stream:
        for value in range(1, 60):
            sample = stream.next()
            shape = (*sample.ids[:, 1:].shape, 2)
            stream.write_back(sample.ids[:, 1:], {"latent/stoch": np.full(shape, value, np.uint8)})
            fill(replay, 2, 4, start=20 + 4 * value)
    settle(replay, tmp_path)
    other = make_replay(storage=storage, capacity=200, length=4)
    other.load(tmp_path)
    found = []
    for source in (replay, other):
        batch, _ = source.gather(source.plan(2000, probe=np.random.default_rng(2)))
        starts, latents = batch["action"][:, 0].tolist(), batch["latent/stoch"][:, 0, 0].tolist()
        found.append(dict(zip(starts, latents, strict=True)))
    assert found[0] == found[1]
    assert len(set(found[0].values())) > 5
