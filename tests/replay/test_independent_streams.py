"""Streams that differ in speed, begin and end when they like, and bring several steps at once."""

import shutil

import numpy as np
import pytest

from reverie.replay.files import format
from reverie.replay.files.storage import DiskStorage, RamStorage
from reverie.replay.selectors.mixture import Mixture
from reverie.replay.selectors.prioritized import Prioritized
from reverie.replay.selectors.recency import Recency
from reverie.replay.selectors.uniform import Uniform


@pytest.fixture
def storage():
    return RamStorage


def mixture():
    return Mixture({"u": (Uniform(), 0.2), "p": (Prioritized(), 0.5), "r": (Recency(), 0.3)})


def rollout(step, begin, count, streams):
    """Steps `[count, N]` numbered 100 * stream + time."""
    rows = [step([100 * s + t for s in streams], [t == 0 for _ in streams])
            for t in range(begin, begin + count)]  # fmt: skip
    return {key: np.concatenate([row[key] for row in rows]) for key in rows[0]}


def drawn(replay, count=400):
    """The sequences that can be drawn; leaves no trace."""
    batch, _ = replay.gather(replay.plan(count, probe=np.random.default_rng(0)))
    return {tuple(row) for row in batch["action"].tolist()}


@pytest.mark.parametrize("selector", [Uniform, mixture])
@pytest.mark.parametrize("capacity", [24, 60, 1000])
@pytest.mark.parametrize("times", [2, 7, 40])
def test_steps_at_once_are_the_same_as_one_after_the_other(
    make_replay, step, selector, capacity, times
):
    def run(at_once):
        replay = make_replay(capacity=capacity, selector=selector(), chunksize=5)
        batches = []
        for begin in range(0, 120, times):
            # Not all of them take part, so that they differ in speed.
            streams = [[2, 0, 1], [0], [1, 0]][begin // times % 3]
            steps = rollout(step, begin, times, streams)
            priority = np.where(steps["action"] % 3, steps["action"] % 5, np.nan)
            cuts = [slice(0, times)] if at_once else [slice(t, t + 1) for t in range(times)]
            for cut in cuts:
                part = {key: column[cut] for key, column in steps.items()}
                replay.add(part, streams, priority[cut])
            if len(replay):
                batch, ids = replay.gather(replay.plan(5))
                batches.append([batch["action"].tolist(), ids.tolist()])
        figures = replay.stats()
        return batches, [figures[key] for key in ("steps", "items", "chunks", "online_queue")]

    assert run(at_once=True) == run(at_once=False)


def test_streams_of_different_speed_never_mix(make_replay, step):
    replay = make_replay(online=False, chunksize=4)
    for begin in range(0, 12, 2):
        replay.add(rollout(step, begin, 2, [7]), [7])
        replay.add(rollout(step, begin // 2, 1, [3]), [3])
    fast = {tuple(range(700 + t, 704 + t)) for t in range(9)}
    assert drawn(replay) == fast | {tuple(range(300 + t, 304 + t)) for t in range(3)}
    assert replay.stats()["streams"] == 2


def test_a_slow_stream_whose_open_chunk_is_evicted_begins_anew(make_replay, step):
    replay = make_replay(online=False, capacity=40, chunksize=8)
    replay.add(rollout(step, 0, 5, [1]), [1])
    assert replay.stats()["streams"] == 1
    replay.add(rollout(step, 0, 40, [2]), [2])
    assert replay.stats()["streams"] == 1
    replay.add(rollout(step, 5, 4, [1]), [1])
    # Nothing leads from the evicted steps to these.
    assert min(drawn(replay)) == (105, 106, 107, 108)
    assert {row[0] for row in drawn(replay)} == {105, *range(204, 237)}


def test_a_stream_that_ends_leads_to_nothing(make_replay, step):
    replay = make_replay(online=False)
    replay.add(rollout(step, 0, 5, [1, 2]), [1, 2])
    replay.end(1)
    replay.end(9)
    assert replay.stats()["streams"] == 1
    replay.add(rollout(step, 5, 4, [1, 2]), [1, 2])
    ended = {(100, 101, 102, 103), (101, 102, 103, 104), (105, 106, 107, 108)}
    assert drawn(replay) == ended | {tuple(range(200 + t, 204 + t)) for t in range(6)}


@pytest.mark.parametrize("saved", [True, False])
def test_what_an_ended_stream_took_in_memory_is_free(make_replay, step, tmp_path, saved):
    def make():
        return make_replay(storage=lambda x: DiskStorage(x, tmp_path, ram=1_000_000, latents=0))

    replay = make()
    replay.add(rollout(step, 0, 5, [1]), [1])
    if saved:
        replay.save(tmp_path).wait()
    replay.end(1)
    replay.save(tmp_path).wait()
    # Of its steps one byte each is left, besides the index.
    replay.add(rollout(step, 0, 1, [2]), [2])
    assert replay.stats()["ram_bytes"] - replay._index.selector.nbytes == 5 + replay.layout.nbytes(
        1
    )
    again = make()
    assert again.load(tmp_path).steps == 5
    assert drawn(again) == {(100, 101, 102, 103), (101, 102, 103, 104)}


def test_a_stream_is_named_once(make_replay, step):
    with pytest.raises(ValueError, match=r"\[1, 1\] were added: each stream goes once"):
        make_replay().add(step([1, 2]), [1, 1])


def test_ids_of_streams_may_be_of_numpy(make_replay, step, tmp_path):
    replay = make_replay()
    replay.add(rollout(step, 0, 5, [1, 2]), np.array([1, 2]))
    replay.save(tmp_path, "here").wait()
    assert make_replay().load(tmp_path, "here").steps == 10


def test_streams_saved_by_an_earlier_version_go_on(make_replay, fill, tmp_path):
    replay = make_replay(online=False)
    fill(replay, 2, 21)
    replay.save(tmp_path / "run", "here").wait()
    folder = shutil.copytree(tmp_path / "run", tmp_path / "copy")
    state = format.File(folder / "state").fields
    opened = state.pop("streams")
    assert opened == [[0, 4, 8, 21], [1, 5, 8, 21]]
    old = {"streams": 2, "written": 21, "offset": 5, "tail_offset": 2, "rows": 8}
    state["writer"] = {**old, "open": [4, 5], "tails": [4, 5]}
    format.write(folder / "state", state, {})
    again = make_replay(online=False)
    assert again.load(folder, "here").exact
    for one in (replay, again):
        fill(one, 2, 9, start=21)
    assert drawn(again) == drawn(replay)
    plans = [one.gather(one.plan(9))[1].tolist() for one in (replay, again)]
    assert plans[0] == plans[1]
