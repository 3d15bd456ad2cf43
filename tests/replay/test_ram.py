"""Memory of chunks that were evicted is used again, and never while somebody reads it."""

import numpy as np
import pytest

from reverie.replay import RamStorage, Replay
from reverie.replay.memory import HUGE, LARGE, Targets
from reverie.replay.storage import Layout
from reverie.spaces import Space

OBS = Space("continuous", (3,), "float32")
LAYOUT = Layout({"obs": OBS})


def address(arrays):
    return arrays["obs"].__array_interface__["data"][0]


@pytest.mark.parametrize("rows", [100, LARGE // LAYOUT.step_nbytes + 1])
def test_memory_is_used_again_when_nobody_reads_it(rows):
    storage = RamStorage(LAYOUT)
    first, second = storage.allocate(0, rows), storage.allocate(1, rows)
    used = {address(first), address(second)}
    del first
    third = storage.allocate(2, rows)
    assert address(third) in used - {address(second)}
    assert address(storage.allocate(3, rows)) not in used


def test_a_single_array_keeps_the_memory_of_all():
    storage = RamStorage(LAYOUT)
    arrays = storage.allocate(0, 100)
    before, held = address(arrays), arrays["is_first"][5:6]
    del arrays
    other = storage.allocate(1, 100)
    assert address(other) != before
    del held
    assert address(storage.allocate(2, 100)) == before


def test_the_first_large_key_begins_with_a_huge_page():
    spaces = {"image": Space("image", (64, 64, 3), "uint8"), "obs": OBS}
    arrays = RamStorage(Layout(spaces)).allocate(0, 1024)
    # The first one of those that are huge: the one after the first rows.
    assert arrays["image"].ctypes.data % HUGE == 0
    for value, array in enumerate(arrays.values()):
        array[:] = value
    for value, array in enumerate(arrays.values()):
        np.testing.assert_array_equal(array, np.full_like(array, value))


def test_memory_of_another_size_is_given_back():
    storage = RamStorage(LAYOUT)
    storage.allocate(0, 100)
    storage.allocate(1, 50)
    storage.allocate(2, 20)
    assert len(storage._blocks) == 1


def test_memory_of_batches_is_used_again_when_nobody_reads_it():
    targets, shape = Targets(), (LARGE // 4, 1)
    first, second = targets.empty(shape, np.float32), targets.empty(shape, np.float32)
    first[:], second[:] = 1, 2
    assert first.shape == shape
    assert first.dtype == np.float32
    assert first.ctypes.data % HUGE == 0
    place, held = first.ctypes.data, first[5:6].T
    del first
    third = targets.empty(shape, np.float32)
    assert third.ctypes.data not in (place, second.ctypes.data)
    third[:] = 3
    assert held == 1
    del held
    assert targets.empty(shape, np.float32).ctypes.data == place
    assert (second == 2).all()


def test_small_arrays_of_batches_are_ordinary_ones():
    array = Targets().empty((3, 4), np.int32)
    assert array.shape == (3, 4)
    assert array.base is None


def test_a_plan_reads_what_it_was_made_of_whatever_is_added_later():
    obs = Space("continuous", (3,), "float32")
    replay = Replay({"obs": obs}, length=4, capacity=64, chunksize=8, online=False)

    def add(count, start):
        for step in range(start, start + count):
            flags = {"is_first": np.array([step == 0]), "is_last": np.array([False])}
            row = {"obs": np.full((1, 3), step, np.float32), "reward": np.zeros(1, np.float32)}
            replay.add({**row, **flags, "is_terminal": np.array([False])})

    add(64, 0)
    plan = replay.plan(8)
    expected = replay.gather(plan)[0]["obs"].copy()
    add(640, 64)
    np.testing.assert_array_equal(replay.gather(plan)[0]["obs"], expected)
    blocks = len(replay._storage._blocks)
    del plan
    add(640, 704)
    assert len(replay._storage._blocks) <= blocks


def test_a_batch_stays_as_it_is_while_others_are_drawn():
    image = Space("image", (64, 64, 3), "uint8")
    replay = Replay({"image": image}, length=32, capacity=600, context=0, online=False)
    rng = np.random.default_rng(0)
    for _ in range(500):
        replay.add({
            "image": rng.integers(0, 256, (1, 64, 64, 3), np.uint8),
            "reward": np.zeros(1, np.float32),
            **{key: np.zeros(1, bool) for key in ("is_first", "is_last", "is_terminal")},
        })  # fmt: skip
    held = replay.gather(replay.plan(16))[0]["image"]
    assert held.nbytes > LARGE
    before = held.copy()
    places = {replay.gather(replay.plan(16))[0]["image"].ctypes.data for _ in range(5)}
    assert len(places) == 1  # The memory of each is used again for the next, that of `held` is not.
    np.testing.assert_array_equal(held, before)


def test_no_sequence_cannot_be_planned():
    replay = Replay({"obs": OBS}, length=4, capacity=64)
    with pytest.raises(ValueError, match="batch_size is 0"):
        replay.plan(0)
