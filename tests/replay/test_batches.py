import contextlib
import json
import shutil
import threading
import time

import numpy as np
import pytest

from reverie.replay.batches import Batches
from reverie.replay.files.storage import RamStorage
from reverie.replay.selectors.prioritized import Prioritized
from reverie.replay.selectors.uniform import Uniform


class Late:
    """Something like a device array: its values take a while."""

    def __init__(self, values, delay=0.0):
        self.values = values
        self.delay = delay

    def __array__(self, dtype=None, copy=None):
        time.sleep(self.delay)
        return self.values


class Broken:
    def __array__(self, dtype=None, copy=None):
        raise FloatingPointError("the device has failed")


def stoch(sample, value, context=1):
    shape = sample.ids[:, context:].shape
    return {"latent/stoch": np.full((*shape, 2), value, np.uint8)}


def counts(replay):
    """Statistics that do not depend on how much has reached the disk."""
    return {key: value for key, value in replay.stats().items() if "bytes" not in key}


def test_batches_have_context_and_trained_steps(make_replay, fill):
    replay = make_replay(length=5, online=True)
    fill(replay, 2, 5)
    with Batches(replay, batch_size=2, batch_length=4) as stream:
        sample = stream.next()
    assert sample.batch["action"].tolist() == [[0, 1, 2, 3, 4], [100, 101, 102, 103, 104]]
    assert sample.batch["latent/deter"].shape == (2, 1, 3)
    assert sample.batch["consec"].tolist() == [0, 0]
    assert sample.batch["consec"].dtype == np.int32
    assert sample.ids.shape == (2, 5)


@pytest.mark.parametrize(("context", "consec"), [(1, 1), (2, 3), (0, 1)])
def test_the_example_has_the_shapes_of_a_batch(make_replay, fill, context, consec):
    replay = make_replay(length=consec * 4 + context, context=context)
    with Batches(replay, batch_size=3, batch_length=4, context=context, consec=consec) as stream:
        example = stream.example()
        fill(replay, 2, 3 * replay.length)
        batch = stream.next().batch
    facts = lambda arrays: {key: (x.shape, x.dtype) for key, x in arrays.items()}  # noqa: E731
    assert facts(example) == facts(batch)


def test_consecutive_chunks_share_their_border_steps(make_replay, fill):
    replay = make_replay(length=3 * 4 + 1, chunksize=5, online=True)
    fill(replay, 1, 13)
    with Batches(replay, batch_size=1, batch_length=4, consec=3) as stream:
        samples = [stream.next() for _ in range(4)]
    rows = [sample.batch["action"][0].tolist() for sample in samples]
    assert rows == [[0, 1, 2, 3, 4], [4, 5, 6, 7, 8], [8, 9, 10, 11, 12], rows[3]]
    assert [sample.batch["consec"][0] for sample in samples] == [0, 1, 2, 0]
    firsts = [sample.batch["is_first"][0].tolist() for sample in samples[:3]]
    assert firsts == [[True] + [False] * 4, [False] * 5, [False] * 5]


def test_consecutive_chunks_continue_the_same_sequences(make_replay, fill):
    replay = make_replay(length=2 * 4 + 1, online=False)
    fill(replay, 3, 40)
    with Batches(replay, batch_size=5, batch_length=4, consec=2) as stream:
        for _ in range(4):
            first, second = stream.next(), stream.next()
            np.testing.assert_array_equal(second.ids[:, 0], first.ids[:, -1])
            np.testing.assert_array_equal(second.batch["action"], first.batch["action"] + 4)


def test_an_abandoned_episode_is_closed_at_the_border_of_consecutive_chunks(make_replay, step):
    replay = make_replay(length=5, online=True)
    for t in range(5):
        replay.add(step([t], is_first=[t in (0, 3)]), [0])
    with Batches(replay, batch_size=1, batch_length=2, consec=2) as stream:
        first, second = stream.next().batch, stream.next().batch
    assert first["is_last"].tolist() == [[False, False, True]]
    assert second["is_last"].tolist() == [[True, False, False]]
    assert second["is_first"].tolist() == [[False, True, False]]


def test_written_latents_come_back_as_the_context_of_later_sequences(make_replay, fill):
    replay = make_replay(length=4, online=False)
    fill(replay, 1, 8)
    with Batches(replay, batch_size=4, batch_length=3, prefetch=0) as stream:
        known = {}
        for value in range(1, 30):
            sample = stream.next()
            for number, latent in zip(
                sample.batch["action"][:, 0], sample.batch["latent/stoch"][:, 0, 0], strict=True
            ):
                assert latent == known.get(int(number), 0)
            stream.write_back(sample.ids[:, 1:], stoch(sample, value))
            known |= dict.fromkeys(sample.batch["action"][:, 1:].ravel().tolist(), value)


def test_batches_do_not_depend_on_timing(make_replay, fill):
    def run(delay):
        replay = make_replay(length=4, capacity=60, chunksize=4, seed=3)
        probe = Batches(replay, batch_size=2, batch_length=3, probe=1)
        stream = Batches(replay, batch_size=3, batch_length=3, prefetch=2)
        out = []
        with probe, stream:
            fill(replay, 2, 6)
            for i in range(25):
                sample = stream.next()
                if i % 7 == 3:
                    out.append(probe.next().batch["latent/stoch"].tolist())
                latents = {k: Late(v, delay) for k, v in stoch(sample, i + 1).items()}
                priority = Late(np.ones(sample.ids[:, 1:].shape, np.float32), delay)
                stream.write_back(sample.ids[:, 1:], latents, priority)
                fill(replay, 2, 2, start=6 + 2 * i)
                out.append(sample.batch["action"].tolist())
                out.append(sample.batch["latent/stoch"].tolist())
        return out, counts(replay)

    assert run(0.0) == run(0.004)


def test_priorities_are_applied_in_the_calling_thread_before_a_later_draw(make_replay, fill):
    class Recorder(Uniform):
        calls = ()

        def connect(self, table, length):
            pass

        def stats(self):
            return {}

        def prioritize(self, runs):
            self.calls = (*self.calls, (threading.current_thread(), len(runs)))

    selector = Recorder()
    replay = make_replay(selector=selector)
    fill(replay, 1, 9)
    with Batches(replay, batch_size=2, batch_length=3, prefetch=1) as stream:
        sample = stream.next()
        stream.write_back(sample.ids[:, 1:], {}, Late(np.ones((2, 3), np.float32)))
        stream.next()
        stream.next()
        assert selector.calls == ((threading.current_thread(), 2),)


def test_an_error_of_a_write_back_comes_out_of_next(make_replay, fill):
    replay = make_replay()
    fill(replay, 1, 9)
    stream = Batches(replay, batch_size=2, batch_length=3, prefetch=1)
    sample = stream.next()
    stream.write_back(sample.ids[:, 1:], {"latent/stoch": Broken()})
    stream.next()
    with pytest.raises(FloatingPointError, match="the device has failed"):
        stream.next()
    stream.close()


def test_an_error_of_the_copying_comes_out_of_next(make_replay, fill, monkeypatch):
    replay = make_replay()
    fill(replay, 1, 9)
    stream = Batches(replay, batch_size=2, batch_length=3)

    def fail(*args):
        raise MemoryError("no room for a batch")

    monkeypatch.setattr(replay, "gather", fail)
    with pytest.raises(MemoryError, match="no room for a batch"):
        stream.next()
    stream.close()


def test_close_finishes_write_backs_and_reports_their_errors(make_replay, fill):
    replay = make_replay(online=False)
    fill(replay, 1, 4)
    stream = Batches(replay, batch_size=1, batch_length=3)
    sample = stream.next()
    late = {k: Late(v, 0.05) for k, v in stoch(sample, 2).items()}
    stream.write_back(sample.ids[:, 1:], late)
    stream.write_back(sample.ids[:, 1:], {"latent/stoch": Broken()})
    with pytest.raises(FloatingPointError):
        stream.close()
    fill(replay, 1, 1, start=4)
    batch, _ = replay.gather(replay.plan(40))
    assert set(batch["latent/stoch"][batch["action"][:, 0] == 1].ravel().tolist()) == {2}
    with pytest.raises(RuntimeError, match="closed"):
        stream.next()
    with pytest.raises(RuntimeError, match="closed"):
        stream.write_back(sample.ids, {})


def test_probe_of_shorter_batches_leaves_no_trace(make_replay, fill):
    replay = make_replay(length=9, online=True)
    fill(replay, 2, 20)
    before = counts(replay)
    with Batches(replay, batch_size=6, batch_length=3, probe=0) as probe:
        sample = probe.next()
    assert sample.batch["action"].shape == (6, 4)
    assert (np.diff(sample.batch["action"], axis=1) == 1).all()
    assert counts(replay) == before


def test_no_thread_is_left_after_close(make_replay, fill):
    before = threading.active_count()
    replay = make_replay()
    fill(replay, 1, 9)
    filled = threading.active_count()
    stream = Batches(replay, batch_size=2, batch_length=3)
    stream.next()
    assert threading.active_count() == filled + 1
    stream.close()
    replay.close()
    assert threading.active_count() == before


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"batch_length": 4}, "longer sequences than replay's 4"),
        ({"batch_length": 2, "consec": 2}, "longer sequences"),
        ({"batch_size": 0}, "at least 1"),
        ({"prefetch": -1}, "prefetch"),
        ({"context": 0}, "latents of 1"),
    ],
)
def test_wrong_settings_are_refused(make_replay, settings, match):
    with pytest.raises(ValueError, match=match):
        Batches(make_replay(), **({"batch_size": 2, "batch_length": 3} | settings))


def test_next_before_there_is_anything_is_an_error(make_replay):
    with Batches(make_replay(), batch_size=2, batch_length=3) as stream, pytest.raises(IndexError):
        stream.next()


@pytest.mark.parametrize(("consec", "taken", "prefetch"), [(1, 2, 2), (2, 3, 2), (2, 1, 0)])
def test_batches_that_were_drawn_survive_a_restart(
    make_replay, fill, tmp_path, consec, taken, prefetch
):
    kwargs = {"length": consec * 4 + 1, "online": True, "storage": RamStorage}
    options = {"batch_size": 2, "batch_length": 4, "consec": consec, "prefetch": prefetch}
    replay = make_replay(**kwargs)
    fill(replay, 2, 60)
    with Batches(replay, **options) as stream:
        for _ in range(taken):
            stream.next()
        meta, arrays = stream.held()
        meta = json.loads(json.dumps(meta))
        replay.save(tmp_path / "run", "here").wait()
        shutil.copytree(tmp_path / "run", tmp_path / "copy")
        fill(replay, 2, 9, start=60)
        expected = [stream.next() for _ in range(4)]
    again = make_replay(**kwargs)
    assert again.load(tmp_path / "copy", "here").exact
    with Batches(again, **options) as stream:
        stream.take_back(meta, arrays)
        fill(again, 2, 9, start=60)
        for sample in expected:
            found = stream.next()
            np.testing.assert_array_equal(found.ids, sample.ids)
            for key, value in sample.batch.items():
                np.testing.assert_array_equal(found.batch[key], value)


def test_what_updates_gave_arrives_after_a_restart(make_replay, fill, tmp_path):
    kwargs = {"length": 5, "online": False, "storage": RamStorage}
    options = {"batch_size": 2, "batch_length": 4}
    stored = []
    for restart in (False, True):
        replay = make_replay(**kwargs, selector=Prioritized())
        fill(replay, 2, 30)
        with contextlib.ExitStack() as stack:
            stream = stack.enter_context(Batches(replay, **options))
            for number in range(4):
                ids = stream.next().ids[:, 1:]
                latents = {
                    key: np.full((2, 4, *shape), number + 1, dtype)
                    for key in replay.layout.latents
                    for dtype, shape in [replay.layout.specs[key]]
                }
                stream.postpone(ids, latents, np.full((2, 4), number + 1, np.float32))
            if restart:
                meta, arrays = stream.held()
                replay.save(tmp_path, "here").wait()
                replay = make_replay(**kwargs, selector=Prioritized())
                assert replay.load(tmp_path, "here").exact
                stream = stack.enter_context(Batches(replay, **options))
                stream.take_back(meta, arrays)
            found = [stream.next() for _ in range(8)]
            stream.postpone(np.zeros((0, 4), int), {})
            stored.append([(x.ids.tolist(), x.batch["latent/deter"].tolist()) for x in found])
    assert stored[0] == stored[1]


def test_batches_of_another_shape_are_left_out(make_replay, fill):
    replay = make_replay(length=5)
    fill(replay, 2, 30)
    options = {"batch_size": 2, "batch_length": 4}
    with Batches(replay, **options) as stream:
        stream.next()
        meta, arrays = stream.held()
    for more in ({}, {"batch_size": 3}):
        with Batches(replay, **{**options, **more}) as stream:
            stream.take_back({}, {})
            assert not stream.held()[1]
            stream.take_back(meta, {k: x[:1] for k, x in arrays.items()} if not more else arrays)
            assert not stream.held()[1]
