import functools
import os
import resource
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from write_back import write_back

from reverie.replay.files import archive, format
from reverie.replay.files.storage import DiskStorage, RamStorage
from reverie.replay.replay import Replay
from reverie.spaces import Space


@pytest.fixture
def home(tmp_path):
    """All replays of a test share a folder, as the runs that resume one another do."""
    return lambda: tmp_path


def sequences(replay, count=300):
    """What can be drawn, as a set of tuples of actions; leaves no trace."""
    if not len(replay):
        return set()
    batch, _ = replay.gather(replay.plan(count, probe=np.random.default_rng(0)))
    return {tuple(row) for row in batch["action"].tolist()}


def files(folder):
    return {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}


def test_a_saved_replay_comes_back(make_replay, fill, tmp_path):
    replay = make_replay(chunksize=4, seed=5)
    fill(replay, 2, 11)
    replay.plan(3)
    replay.save(tmp_path).wait()
    other = make_replay(chunksize=4, seed=6)
    loaded = other.load(tmp_path)
    assert (loaded.steps, loaded.chunks, loaded.damaged) == (22, 6, ())
    assert sequences(other) == sequences(replay)
    expected, found = replay.stats(), other.stats()
    assert found["online_queue"] == 1
    for key in expected.keys() - {"streams"}:
        assert found[key] == expected[key] or "bytes" in key
    plans = [r.gather(r.plan(4))[0]["action"].tolist() for r in (replay, other)]
    assert plans[0][0] == plans[1][0] == [104, 105, 106, 107]


def test_two_loads_go_on_alike(make_replay, fill, tmp_path):
    replay = make_replay(seed=1)
    fill(replay, 2, 30)
    replay.plan(16)
    replay.save(tmp_path).wait()
    content = {path: path.read_bytes() for path in tmp_path.iterdir()}
    runs = []
    for seed in (2, 3):
        for path in tmp_path.iterdir():
            path.unlink()
        for path, data in content.items():
            path.write_bytes(data)
        other = make_replay(seed=seed)
        other.load(tmp_path)
        fill(other, 2, 10, start=30)
        runs.append([other.gather(other.plan(9))[0]["action"].tolist() for _ in range(4)])
        other.close()
    assert runs[0] == runs[1]


def test_streams_of_the_old_run_are_closed(make_replay, fill, tmp_path):
    replay = make_replay()
    fill(replay, 1, 6)
    replay.save(tmp_path).wait()
    other = make_replay(online=False)
    other.load(tmp_path)
    fill(other, 3, 5, start=50)
    old = {(0, 1, 2, 3), (1, 2, 3, 4), (2, 3, 4, 5)}
    new = {tuple(range(s + t, s + t + 4)) for s in (50, 150, 250) for t in (0, 1)}
    assert sequences(other) == old | new


def test_latents_come_back_fresh(make_replay, fill, tmp_path):
    replay = make_replay(chunksize=3, online=False)
    fill(replay, 1, 9)
    replay.save(tmp_path).wait()
    _, ids = replay.gather(replay.plan(30))
    write_back(replay, ids, {"latent/stoch": np.full((30, 4, 2), 3, np.uint8)})
    replay.save(tmp_path).wait()
    other = make_replay()
    other.load(tmp_path)
    batch, _ = other.gather(other.plan(40, probe=np.random.default_rng(1)))
    assert (batch["latent/stoch"] == 3).all()


def test_latents_beyond_the_budget_wait_for_a_later_save(make_replay, fill, tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "LATENT_BUDGET", 2 * 3 * (2 + 3 * 2))
    replay = make_replay(chunksize=3, online=False)
    fill(replay, 1, 9)
    replay.save(tmp_path).wait()
    _, ids = replay.gather(replay.plan(30))
    fresh = {"latent/stoch": np.full((30, 4, 2), 3, np.uint8)}

    def save():
        before = files(tmp_path)
        replay.save(tmp_path).wait()
        after = files(tmp_path)
        return {int(k[9]) for k in after if k.endswith(".latents") and after[k] != before[k]}

    write_back(replay, ids, fresh)
    assert [save(), save(), save()] == [{0, 1}, {2}, set()]
    write_back(replay, ids, fresh)
    assert save() == {0, 1}
    write_back(replay, ids, fresh)
    # The one that was left out goes first.
    assert save() == {2, 0}


def test_finished_chunks_are_written_once_and_evicted_ones_deleted(make_replay, fill, tmp_path):
    replay = make_replay(capacity=40, chunksize=8)
    fill(replay, 1, 20)
    replay.save(tmp_path).wait()
    first = files(tmp_path)
    fill(replay, 1, 4, start=20)
    replay.save(tmp_path).wait()
    second = files(tmp_path)
    changed = {name for name in second if first.get(name) != second[name]}
    assert changed == {"0000000002.chunk", "0000000002.latents", "state"}
    fill(replay, 1, 30, start=24)
    replay.save(tmp_path).wait()
    chunks = sorted(name for name in files(tmp_path) if name.endswith(".chunk"))
    assert chunks == [f"{i:010d}.chunk" for i in range(2, 7)]


def test_a_resumed_replay_writes_only_what_is_new(make_replay, fill, tmp_path):
    replay = make_replay()
    fill(replay, 1, 12)
    replay.save(tmp_path).wait()
    first = files(tmp_path)
    other = make_replay()
    other.load(tmp_path)
    fill(other, 2, 5, start=12)
    other.save(tmp_path).wait()
    second = files(tmp_path)
    changed = {name for name in second if first.get(name) != second[name]}
    new = {f"{i:010d}.{kind}" for i in (2, 3) for kind in ("chunk", "latents")}
    assert changed == new | {"state"}
    third = make_replay()
    assert third.load(tmp_path).steps == 22


def test_what_a_kill_has_left_of_files_goes_with_the_next_save(make_replay, fill, tmp_path):
    for name in (".0000000009.partial.chunk", ".state.partial", "0000000009.latents.tmp"):
        (tmp_path / name).write_bytes(b"torn")
    replay = make_replay()
    fill(replay, 1, 5)
    replay.save(tmp_path).wait()
    names = {"0000000000.chunk", "0000000000.latents", "state"}
    assert files(tmp_path).keys() == names


def test_what_is_added_after_save_is_not_in_it(make_replay, fill, tmp_path):
    replay = make_replay()
    fill(replay, 1, 5)
    saving = replay.save(tmp_path)
    fill(replay, 1, 2, start=5)  # A chunk that gets full would be written now.
    saving.wait()
    assert saving.done
    other = make_replay()
    assert other.load(tmp_path).steps == 5


def test_a_replay_in_ram_that_was_loaded_can_be_saved_elsewhere(make_replay, fill, tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    replay = make_replay(storage=RamStorage, online=False)
    fill(replay, 2, 20)
    replay.save(first).wait()
    middle = make_replay(storage=RamStorage, online=False)
    middle.load(first)
    fill(middle, 2, 10, start=50)
    middle.save(second).wait()
    last = make_replay(storage=RamStorage, online=False)
    assert last.load(second).steps == 60
    for one in (middle, last):
        batch, _ = one.gather(one.plan(500, probe=np.random.default_rng(0)))
        times = {int(number) % 100 for number in np.unique(batch["action"])}
        assert times == {*range(20), *range(50, 60)}
    # Damage is not written again under a new checksum.
    path = first / "0000000000.chunk"
    content = bytearray(path.read_bytes())
    content[format.File(path).position["reward"] + 2] ^= 4
    path.write_bytes(content)
    broken, third = make_replay(storage=RamStorage), tmp_path / "third"
    assert "0000000000.chunk" in broken.load(first).damaged[0]
    broken.save(third).wait()
    assert not (third / path.name).exists()


@pytest.mark.parametrize("harm", ["flip", "cut", "delete latents"])
def test_a_damaged_chunk_is_skipped_and_reported(make_replay, fill, tmp_path, harm, caplog):
    replay = make_replay(chunksize=4, online=False)
    fill(replay, 1, 12)
    replay.save(tmp_path).wait()
    path = tmp_path / "0000000001.chunk"
    content = bytearray(path.read_bytes())
    if harm == "flip":
        content[-100] ^= 4
        path.write_bytes(content)
    elif harm == "cut":
        path.write_bytes(content[: len(content) // 2])
    else:
        path.with_suffix(".latents").unlink()
    other = make_replay(chunksize=4, online=False)
    loaded = other.load(tmp_path)
    assert sequences(other) == {(0, 1, 2, 3), (8, 9, 10, 11)}
    stats = other.stats()
    assert (len(other), stats["steps"]) == (2, 8)
    assert len(loaded.damaged) == stats["damaged_chunks"] == 1
    assert "0000000001" in loaded.damaged[0]
    assert "0000000001" in caplog.text
    fill(other, 1, 1, start=12)
    other.save(tmp_path).wait()
    assert not path.exists()
    assert make_replay().load(tmp_path).damaged == ()


def test_a_damaged_state_costs_only_the_random_state(make_replay, fill, tmp_path):
    replay = make_replay()
    fill(replay, 2, 12)
    replay.save(tmp_path).wait()
    state = tmp_path / "state"
    state.write_bytes(state.read_bytes()[:50])
    other = make_replay()
    loaded = other.load(tmp_path)
    assert (loaded.steps, len(loaded.damaged)) == (24, 1)
    assert sequences(other) == sequences(replay)
    assert other.stats()["online_queue"] == 0
    fill(other, 1, 4, start=30)
    _, ids = other.gather(other.plan(1))
    assert ids[0, 0] >> 20 == 4


def test_a_chunk_saved_open_does_not_lead_to_its_follower(make_replay, fill, tmp_path):
    replay = make_replay(online=False)
    fill(replay, 1, 5)
    replay.save(tmp_path).wait()
    old = (tmp_path / "0000000000.chunk").read_bytes()
    fill(replay, 1, 8, start=5)
    batch, ids = replay.gather(replay.plan(200))
    write_back(
        replay, ids, {"latent/stoch": np.repeat(batch["action"][..., None], 2, 2).astype("u1")}
    )
    replay.save(tmp_path).wait()
    (tmp_path / "0000000000.chunk").write_bytes(old)
    other = make_replay(online=False)
    assert other.load(tmp_path).damaged == ()
    assert sequences(other) == {(0, 1, 2, 3), (1, 2, 3, 4), (8, 9, 10, 11), (9, 10, 11, 12)}
    # Its latents file is the longer one of the second save.
    batch, _ = other.gather(other.plan(50))
    np.testing.assert_array_equal(batch["latent/stoch"][:, 0, 0], batch["action"][:, 0])


def test_loading_with_other_sizes(make_replay, fill, tmp_path):
    replay = make_replay(capacity=100, chunksize=8)
    fill(replay, 1, 40)
    replay.save(tmp_path).wait()
    other = make_replay(length=6, capacity=20, chunksize=2, online=False)
    assert other.load(tmp_path).steps == 16
    assert sequences(other) == {tuple(range(t, t + 6)) for t in range(24, 35)}
    fill(other, 2, 30, start=50)
    steps = other.stats()["steps"]
    assert 12 <= steps <= 20


def test_an_empty_folder_is_an_empty_replay(make_replay, tmp_path):
    replay = make_replay()
    loaded = replay.load(tmp_path)
    assert (loaded.steps, loaded.damaged) == (0, ())
    with pytest.raises(FileNotFoundError, match="no replay to load"):
        make_replay().load(tmp_path / "nothing")


def test_replay_of_another_run_is_not_overwritten(make_replay, fill, tmp_path):
    replay = make_replay()
    fill(replay, 1, 5)
    replay.save(tmp_path).wait()
    with pytest.raises(FileExistsError, match="another run"):
        make_replay().save(tmp_path)


def test_load_after_adding_is_refused(make_replay, fill, tmp_path):
    replay = make_replay()
    fill(replay, 1, 1)
    with pytest.raises(RuntimeError, match="before adding"):
        replay.load(tmp_path)


def test_replay_of_other_spaces_is_refused(make_replay, fill, tmp_path):
    replay = make_replay()
    fill(replay, 1, 5)
    replay.save(tmp_path).wait()
    vector = {"obs/vector": Space("continuous", (2,), "float32")}
    with pytest.raises(ValueError, match="has the keys"):
        Replay(vector, length=4, capacity=10).load(tmp_path)
    specs = {k: Space("continuous", (9, *shape), dtype.name)
             for k, (dtype, shape) in replay.layout.specs.items()}  # fmt: skip
    other = Replay(specs, length=4, capacity=10, latents=replay.layout.latents)
    with pytest.raises(ValueError, match="holds 'action' as int32"):
        other.load(tmp_path)


def test_a_failed_save_is_reported_and_the_next_one_repairs_it(make_replay, fill, tmp_path):
    replay = make_replay()
    fill(replay, 1, 100)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64, hard))
    try:
        saving = replay.save(tmp_path)
        with pytest.raises(OSError, match="File too large"):
            saving.wait()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    replay.save(tmp_path).wait()
    assert make_replay().load(tmp_path).steps == 100


def test_a_failed_save_that_nobody_waited_for_is_raised_by_the_next(make_replay, fill, tmp_path):
    replay = make_replay(storage=RamStorage)
    fill(replay, 1, 5)
    target = tmp_path / "file"
    target.write_text("in the way")
    saving = replay.save(target)
    while not saving.done:
        time.sleep(0.001)
    with pytest.raises(FileExistsError):
        replay.save(target)
    target.unlink()
    replay.save(target).wait()


KILLED = """
import functools
import sys
import numpy as np
from reverie.replay.files.storage import DiskStorage
from reverie.replay.replay import Replay
from reverie.replay.files.storage import RamStorage
from reverie.spaces import Space

spaces = {
    "step": Space("continuous", (500,), "float32"),
    "latent/deter": Space("continuous", (100,), "float32"),
}
storage = {
    "ram": RamStorage,
    "disk": functools.partial(DiskStorage, folder=sys.argv[1], ram=2_000_000, latents=300_000),
}[sys.argv[2]]
settings = {"capacity": 4000, "chunksize": 64, "latents": ["latent/deter"]}
replay = Replay(spaces, length=5, storage=storage, **settings)
off = np.zeros((1, 2), bool)
for t in range(1_000_000):
    number = np.array([[t, t + 0.5]], np.float32)
    replay.add({
        "step": np.repeat(number[..., None], 500, 2),
        "latent/deter": np.repeat(number[..., None], 100, 2),
        "reward": number, "is_first": off, "is_last": off, "is_terminal": off,
    }, range(2))
    if t % 50 == 49:
        replay.save(sys.argv[1]).wait()
        print(t, flush=True)
"""


@pytest.mark.parametrize("kind", ["ram", "disk"])
@pytest.mark.parametrize("saves", [3, 9, 50])
def test_killed_while_saving(tmp_path, saves, kind):
    folder = tmp_path / "replay"
    child = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(folder), kind],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert child.stdout is not None
    with child:
        for _ in range(saves):
            last = int(child.stdout.readline())
        time.sleep(0.004 * (saves % 4))  # Somewhere within a later save.
        child.send_signal(signal.SIGKILL)
        last = max([last, *map(int, child.stdout.read().split())])
    spaces = {
        "step": Space("continuous", (500,), "float32"),
        "latent/deter": Space("continuous", (100,), "float32"),
    }
    storage = functools.partial(DiskStorage, folder=folder, ram=10_000_000)
    replay = Replay(spaces, length=5, capacity=4000, chunksize=64, latents=["latent/deter"],
                    storage=RamStorage if kind == "ram" else storage)  # fmt: skip
    loaded = replay.load(folder)
    assert loaded.damaged == ()
    # Complete up to the last save that was reported, and at most one save ahead of it. Of a full
    # replay the oldest chunk of each stream may be gone before the rows that replace it are saved.
    assert min(3800, 2 * (last + 1)) <= loaded.steps <= min(4000, 2 * (last + 51))
    batch, _ = replay.gather(replay.plan(500))
    start = batch["reward"][:, :1]
    np.testing.assert_array_equal(batch["reward"], start + np.arange(5))
    np.testing.assert_array_equal(batch["step"], np.repeat(batch["reward"][..., None], 500, 2))
    np.testing.assert_array_equal(batch["latent/deter"], np.repeat(start[..., None], 100, 2))
    replay.close()
