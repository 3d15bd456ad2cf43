import ml_dtypes
import numpy as np
import pytest
from write_back import write_back

from reverie.replay.replay import Replay
from reverie.replay.selectors.uniform import Uniform
from reverie.spaces import Space


def draw_all(replay, count=400):
    """Actions of many uniformly drawn sequences, as a set of tuples."""
    batch, _ = replay.gather(replay.plan(count))
    return {tuple(row) for row in batch["action"].tolist()}


def test_all_sequences_are_drawn_across_chunk_borders(make_replay, fill):
    replay = make_replay(online=False, chunksize=4)
    fill(replay, 2, 10)
    expected = {tuple(range(s + t, s + t + 4)) for s in (0, 100) for t in range(7)}
    assert len(replay) == 14
    assert draw_all(replay) == expected


def test_a_sequence_longer_than_several_chunks(make_replay, fill):
    replay = make_replay(online=False, chunksize=3, length=11)
    fill(replay, 1, 12)
    assert draw_all(replay) == {tuple(range(11)), tuple(range(1, 12))}


def test_batch_has_every_key_with_its_values(make_replay, step):
    replay = make_replay(online=False)
    for t in range(4):
        replay.add(step([7 + t], is_first=[t == 0], is_last=[t == 3], is_terminal=[t == 3]), [0])
    batch, ids = replay.gather(replay.plan(2))
    row = [[7, 8, 9, 10]] * 2
    np.testing.assert_array_equal(batch["action"], np.array(row, np.int32))
    np.testing.assert_array_equal(batch["reward"], np.array(row, np.float32))
    np.testing.assert_array_equal(batch["obs/vector"][0, :, 1], [-7, -8, -9, -10])
    np.testing.assert_array_equal(batch["obs/image"][1, :, 1, 0, 0], row[1])
    np.testing.assert_array_equal(batch["is_first"], [[True, False, False, False]] * 2)
    np.testing.assert_array_equal(batch["is_last"], [[False, False, False, True]] * 2)
    np.testing.assert_array_equal(batch["is_terminal"], [[False, False, False, True]] * 2)
    assert batch["latent/deter"].shape == (2, 1, 3)
    assert batch["latent/deter"].dtype == ml_dtypes.bfloat16
    assert batch["latent/stoch"].shape == (2, 1, 2)
    assert batch["is_first"].dtype == batch["is_last"].dtype == np.dtype(bool)
    np.testing.assert_array_equal(ids, [[0, 1, 2, 3]] * 2)


def test_first_row_begins_an_episode_and_nothing_stored_changes(make_replay, fill):
    replay = make_replay(online=False)
    fill(replay, 1, 8)
    for _ in range(20):
        batch, _ = replay.gather(replay.plan(8))
        np.testing.assert_array_equal(batch["is_first"], [[True, False, False, False]] * 8)


def test_abandoned_episode_is_closed_where_the_next_one_begins(make_replay, step):
    replay = make_replay(online=False, chunksize=2, length=3)
    for t in range(6):
        replay.add(step([t], is_first=[t in (0, 3)]), [0])
    batch, _ = replay.gather(replay.plan(50))
    found = {int(a[0]): last.tolist() for a, last in
             zip(batch["action"], batch["is_last"], strict=True)}  # fmt: skip
    assert found == {
        0: [False, False, True],
        1: [False, True, False],
        2: [True, False, False],
        3: [False, False, False],
    }
    assert not batch["is_terminal"].any()


def test_a_plan_does_not_see_what_is_added_or_evicted_after_it(make_replay, fill, step):
    replay = make_replay(online=False, capacity=40, chunksize=4)
    fill(replay, 1, 4)
    plan = replay.plan(1)
    fill(replay, 1, 90, start=4)
    batch, ids = replay.gather(plan)
    assert batch["action"].tolist() == [[0, 1, 2, 3]]
    assert batch["is_last"].tolist() == [[False] * 4]
    assert ids.tolist() == [[0, 1, 2, 3]]


def test_capacity_evicts_the_oldest_chunk_and_every_sequence_that_touches_it(make_replay, fill):
    replay = make_replay(online=False, capacity=40, chunksize=8)
    fill(replay, 1, 40)
    assert (replay.stats()["steps"], len(replay)) == (40, 37)
    assert (0, 1, 2, 3) in draw_all(replay)
    fill(replay, 1, 1, start=40)
    assert (replay.stats()["steps"], len(replay)) == (33, 30)
    assert draw_all(replay) == {tuple(range(t, t + 4)) for t in range(8, 38)}


def test_small_capacity_keeps_every_stream_drawable(make_replay, fill):
    replay = make_replay(online=False, capacity=3 * 5, chunksize=1024)
    fill(replay, 3, 50)
    stats = replay.stats()
    assert stats["steps"] == 15
    assert {row[0] // 100 for row in draw_all(replay)} == {0, 1, 2}


def test_capacity_below_one_sequence_per_stream_is_refused(make_replay, fill):
    replay = make_replay(capacity=14)
    with pytest.raises(ValueError, match=r"capacity of 14 .* 3 environments.* at least 15"):
        fill(replay, 3, 1)


def test_online_hands_each_fresh_sequence_out_once_and_first(make_replay, fill):
    replay = make_replay(online=True)
    fill(replay, 2, 9)
    batch, _ = replay.gather(replay.plan(3))
    assert batch["action"][:, 0].tolist() == [0, 100, 4]
    plan = replay.plan(3)
    assert plan.online.tolist() == [True, False, False]
    assert replay.gather(plan)[0]["action"][0].tolist() == [104, 105, 106, 107]
    assert not replay.plan(3).online.any()
    fill(replay, 2, 3, start=9)
    assert replay.plan(3).online.tolist() == [True, True, False]
    stats = replay.stats()
    assert stats["samples"] == 12
    assert stats["online_share"] == 6 / 12
    assert stats["online_queue"] == 0


def test_online_sequences_that_were_evicted_are_dropped(make_replay, fill):
    replay = make_replay(online=True, capacity=20, chunksize=4)
    fill(replay, 1, 40)
    queued = replay.stats()["online_queue"]
    plan = replay.plan(10)
    batch, _ = replay.gather(plan)
    assert int(plan.online.sum()) == queued
    assert batch["action"][plan.online][:, 0].tolist() == [20, 24, 28, 32, 36][-queued:]


def test_update_reaches_the_steps_and_only_them(make_replay, fill):
    replay = make_replay(online=False, chunksize=3)
    fill(replay, 2, 8)
    plan = replay.plan(1)
    batch, ids = replay.gather(plan)
    first = int(batch["action"][0, 0])
    deter = np.arange(9, dtype=np.float32).reshape(1, 3, 3).astype(ml_dtypes.bfloat16)
    stoch = np.array([[[1, 1], [2, 2], [3, 3]]], np.uint8)
    write_back(replay, ids[:, 1:], {"latent/deter": deter, "latent/stoch": stoch})
    expected = {first + 1: 1, first + 2: 2, first + 3: 3}
    batch, _ = replay.gather(replay.plan(300))
    for action, value in zip(batch["action"][:, 0], batch["latent/stoch"][:, 0, 0], strict=True):
        assert value == expected.get(int(action), 0)
    at = batch["action"][:, 0] == first + 2
    if at.any():
        np.testing.assert_array_equal(batch["latent/deter"][at][0, 0], deter[0, 1])


def test_update_of_evicted_steps_is_ignored_and_counted(make_replay, fill):
    replay = make_replay(online=False, capacity=40, chunksize=8)
    fill(replay, 1, 4)
    _, ids = replay.gather(replay.plan(2))
    fill(replay, 1, 60, start=4)
    stale = {"latent/stoch": np.full((2, 4, 2), 3, np.uint8)}
    write_back(replay, ids, stale)
    assert replay.stats()["missed_updates"] == 8
    assert not replay.gather(replay.plan(100))[0]["latent/stoch"].any()


def test_context_zero_has_no_latents(make_replay, fill):
    replay = make_replay(context=0)
    fill(replay, 1, 4)
    batch, _ = replay.gather(replay.plan(1))
    assert not [key for key in batch if key.startswith("latent/")]


def test_same_seed_and_calls_give_the_same_batches(make_replay, fill):
    def run(seed):
        replay = make_replay(seed=seed, capacity=60, chunksize=4)
        out = []
        for start in range(0, 80, 5):
            fill(replay, 2, 5, start=start)
            out.append(replay.gather(replay.plan(6))[0]["action"].tolist())
        return out

    assert run(1) == run(1)
    assert run(1) != run(2)


def test_probe_leaves_no_trace(make_replay, fill):
    def run(probed):
        replay = make_replay(seed=0)
        fill(replay, 2, 12)
        if probed:
            probe = np.random.default_rng(5)
            assert len(replay.plan(4, probe=probe)) == 4
        # Bytes depend on when finished chunks reach their files.
        stats = {key: value for key, value in replay.stats().items() if "bytes" not in key}
        return stats, [replay.gather(replay.plan(8))[0]["action"].tolist() for _ in range(3)]

    assert run(True) == run(False)


def test_ready_needs_a_batch_without_overlap(make_replay, fill):
    replay = make_replay()
    fill(replay, 1, 11)
    assert len(replay) == 8
    assert not replay.ready(3)
    fill(replay, 1, 1, start=11)
    assert replay.ready(3)
    assert not replay.ready(4)


def test_stats(make_replay, fill):
    replay = make_replay(online=False, capacity=100, chunksize=8)
    assert replay.stats()["bytes_per_step"] == 0
    fill(replay, 2, 10)
    replay.plan(5)
    stats = replay.stats()
    expected = {"items": 14, "steps": 20, "capacity": 100, "streams": 2, "chunks": 4}
    expected |= {"inserts": 20, "samples": 5, "online_share": 0, "replay_ratio": 15 / 20}
    assert {key: stats[key] for key in expected} == expected
    assert stats["bytes_per_step"] == stats["bytes"] / 20


def test_bytes_per_step_are_the_compact_ones():
    spaces = {
        "image": Space("image", (64, 64, 3), "uint8"),
        "latent/deter": Space("continuous", (512,), "bfloat16"),
        "latent/stoch": Space("discrete", (32,), "uint8", (4,) * 32),
        "action": Space("discrete", (), "int32", (17,)),
    }
    latents = ("latent/deter", "latent/stoch")
    replay = Replay(spaces, length=65, capacity=10_000, chunksize=256, latents=latents)
    zeros = {
        k: np.zeros((1, 1, *shape), dtype) for k, (dtype, shape) in replay.layout.specs.items()
    }
    for _ in range(4 * 256):
        replay.add(zeros, [0])
    data = 64 * 64 * 3 + 512 * 2 + 32 + 4 + 4 + 3
    assert data <= replay.stats()["bytes_per_step"] <= data + 40


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        ({"reward": None}, KeyError, r"\['reward'\] missing"),
        ({"extra": np.zeros((1, 1))}, KeyError, r"\['extra'\] unknown"),
        (
            {"reward": np.zeros((1, 1))},
            TypeError,
            "'reward' has dtype float64, replay stores float32",
        ),
        ({"obs/vector": np.zeros((1, 1, 3), "f4")}, ValueError, r"vector' has shape \(1, 1, 3\)"),
        ({"is_first": np.array(True)}, ValueError, "'action' has shape"),
        ({"is_first": np.zeros((2, 1), bool)}, ValueError, "'action' has shape"),
        ({"reward": np.zeros((1, 2), "f4")}, ValueError, r"'reward' has shape \(1, 2\)"),
    ],
)
def test_wrong_transitions_are_refused(make_replay, step, change, error, match):
    replay = make_replay()
    transition = {k: v for k, v in (step([1]) | change).items() if v is not None}
    with pytest.raises(error, match=match):
        replay.add(transition, [0])
    assert replay.stats()["steps"] == 0


def test_log_keys_are_not_stored(make_replay, step):
    replay = make_replay()
    for t in range(4):
        replay.add(step([t]) | {"log/score": np.zeros((1, 1))}, [0])
    assert "log/score" not in replay.gather(replay.plan(1))[0]


@pytest.mark.parametrize(
    ("latents", "error", "match"),
    [
        ({"latent/stoch": np.zeros((1, 4, 2), "i4")}, TypeError, "int32, replay stores uint8"),
        ({"latent/stoch": np.zeros((1, 3, 2), "u1")}, ValueError, r"expected \(1, 4, 2\)"),
        ({"reward": np.zeros((1, 4), "f4")}, KeyError, "'reward' is not a latent"),
    ],
)
def test_wrong_updates_are_refused(make_replay, fill, latents, error, match):
    replay = make_replay()
    fill(replay, 1, 4)
    _, ids = replay.gather(replay.plan(1))
    with pytest.raises(error, match=match):
        write_back(replay, ids, latents)


@pytest.mark.parametrize("value", [np.nan, -1.0])
def test_wrong_priorities_are_refused(make_replay, fill, value):
    replay = make_replay()
    fill(replay, 1, 4)
    _, ids = replay.gather(replay.plan(1))
    with pytest.raises(ValueError, match="priority must be >= 0"):
        write_back(replay, ids, {}, priority=np.full((1, 4), value))
    with pytest.raises(ValueError, match=r"expected \(1, 4\)"):
        write_back(replay, ids, {}, priority=np.ones((1, 3)))


def test_priorities_reach_the_selector_as_runs_of_rows(make_replay, fill):
    class Recorder(Uniform):
        def connect(self, table, length):
            self.length = length

        def prioritize(self, runs):
            self.seen = [(row, values.tolist()) for row, values in runs]

        def stats(self):
            return {"own": 1.0}

    selector = Recorder()
    replay = make_replay(online=False, chunksize=3, selector=selector)
    fill(replay, 1, 4)
    _, ids = replay.gather(replay.plan(1))
    write_back(replay, ids, {}, priority=np.array([[1, 2, 3, 4]], np.float32))
    assert selector.seen == [(0, [1, 2, 3]), (3, [4])]
    assert (selector.length, replay.stats()["own"]) == (4, 1.0)


@pytest.mark.parametrize(
    "settings",
    [
        {"length": 0},
        {"capacity": 4},
        {"chunksize": 0},
        {"chunksize": 1 << 21},
        {"context": 4},
        {"context": -1},
    ],
)
def test_wrong_settings_are_refused(make_replay, settings):
    with pytest.raises(ValueError, match=next(iter(settings))):
        make_replay(**settings)


def test_unknown_latents_and_reserved_names_are_refused():
    image = Space("image", (2, 2, 1), "uint8")
    with pytest.raises(ValueError, match="'latent/deter' is not among"):
        Replay({"image": image}, length=4, capacity=9, latents=("latent/deter",))
    with pytest.raises(ValueError, match="'consec'"):
        Replay({"consec": image}, length=4, capacity=9)


def test_drawing_from_an_empty_replay_is_an_error(make_replay):
    with pytest.raises(IndexError, match="No sequence can be drawn yet"):
        make_replay().plan(1)
