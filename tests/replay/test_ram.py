"""Plans and batches hold what they were made of, whatever happens to the chunks."""

import numpy as np
import pytest

from reverie.replay.replay import Replay
from reverie.spaces import Space

OBS = Space("continuous", (3,), "float32")


def test_a_plan_reads_what_it_was_made_of_whatever_is_added_later():
    obs = Space("continuous", (3,), "float32")
    replay = Replay({"obs": obs}, length=4, capacity=64, chunksize=8, online=False)

    def add(count, start):
        for step in range(start, start + count):
            flags = {"is_first": np.array([step == 0]), "is_last": np.array([False])}
            row = {"obs": np.full((1, 3), step, np.float32), "reward": np.zeros(1, np.float32)}
            row |= {**flags, "is_terminal": np.array([False])}
            replay.add({key: value[None] for key, value in row.items()}, [0])

    add(64, 0)
    plan = replay.plan(8)
    expected = replay.gather(plan)[0]["obs"].copy()
    add(640, 64)
    np.testing.assert_array_equal(replay.gather(plan)[0]["obs"], expected)


def test_a_batch_stays_as_it_is_while_others_are_drawn():
    image = Space("image", (64, 64, 3), "uint8")
    replay = Replay({"image": image}, length=32, capacity=600, context=0, online=False)
    rng = np.random.default_rng(0)
    for _ in range(500):
        step = {
            "image": rng.integers(0, 256, (1, 64, 64, 3), np.uint8),
            "reward": np.zeros(1, np.float32),
            **{key: np.zeros(1, bool) for key in ("is_first", "is_last", "is_terminal")},
        }  # fmt: skip
        replay.add({key: value[None] for key, value in step.items()}, range(1))
    held = replay.gather(replay.plan(16))[0]["image"]
    before = held.copy()
    for _ in range(5):
        replay.gather(replay.plan(16))
    np.testing.assert_array_equal(held, before)


def test_no_sequence_cannot_be_planned():
    replay = Replay({"obs": OBS}, length=4, capacity=64)
    with pytest.raises(ValueError, match="batch_size is 0"):
        replay.plan(0)
