"""Replay in processes of its own: real ones, in a local Ray."""

import functools
import os
import signal
import sys
import time
import types

import cloudpickle
import numpy as np
import pytest
from counting import Counter
from local_ray import ray_address

import reverie
from reverie.config.load import load
from reverie.errors import ConfigError
from reverie.replay.batches import Batches
from reverie.replay.chunk import Layout
from reverie.replay.replay import Replay
from reverie.run.parts import experience
from reverie.spaces import Space
from reverie.track.sinks.jsonl import read_jsonl

# Actors have no such module, as they have none of a notebook.
cloudpickle.register_pickle_by_value(sys.modules[__name__])
pytestmark = pytest.mark.usefixtures(ray_address.__name__)

SPACES = {
    "number": Space("continuous", (), "float32"),
    "latent/deter": Space("continuous", (2,), "float32"),
}
LATENTS = ("latent/deter",)
LENGTH = 4


def steps(stream, begin, count):
    """Steps `[T, 1]` whose number tells stream and time."""
    numbers = (1000 * stream + np.arange(begin, begin + count, dtype=np.float32))[:, None]
    flag = np.zeros((count, 1), bool)
    flags = dict.fromkeys(("is_first", "is_last", "is_terminal"), flag)
    latents = np.zeros((count, 1, 2), np.float32)
    return {"number": numbers, "reward": numbers, "latent/deter": latents, **flags}


@pytest.fixture
def make(tmp_path):
    """Makes a replay of two shards that saves in the test's folder, and closes it."""
    from reverie.replay.shards.sharded import ShardedReplay

    made = []
    witness = tmp_path / "lock"
    witness.touch()

    def start(capacity=1000, kept=None):
        one = functools.partial(
            Replay,
            SPACES,
            length=LENGTH,
            capacity=capacity,
            chunksize=8,
            latents=LATENTS,
            online=False,
        )
        replay = ShardedReplay(
            Layout(SPACES, LATENTS),
            length=LENGTH,
            context=1,
            makes=[cloudpickle.dumps(one)] * 2,
            place=(sys.path, os.getcwd()),
            folders=[tmp_path / "replay" / f"shard-{index}" for index in range(2)],
            witness=witness,
            options={"num_cpus": 0},
        )
        notes = []
        replay.supervise(lambda index, error: 0.0, notes.append)
        for shard in replay._shards:
            shard._most = kept or shard._most
        made.append(replay)
        return replay, notes

    yield start
    for replay in made:
        replay.close()


def kill(replay, index):
    import ray

    pid = ray.get(replay._shards[index]._handle.__ray_call__.remote(lambda shard: os.getpid()))
    os.kill(pid, signal.SIGKILL)


def contents(replay, draws=40, size=32):
    """The numbers of all steps that are drawn, by the numbers with which sequences begin."""
    found, rng = {}, np.random.default_rng(0)
    for _ in range(draws):
        batch, _ = replay.gather(replay.plan(size, probe=rng))
        found |= {int(row[0]): row.tolist() for row in batch["number"]}
    return found


def whole(found):
    return all(row == [first + i for i in range(LENGTH)] for first, row in found.items())


def test_it_draws_takes_back_and_saves_as_one_replay(make, tmp_path):
    replay, _ = make()
    with pytest.raises(IndexError):
        replay.plan(1)
    replay.add(steps(1, 0, 303), [1])
    replay.add(steps(2, 0, 103), [2])
    assert replay.ready(100)
    assert len(replay) == 400
    with Batches(replay, batch_size=64, batch_length=LENGTH - 1) as batches:
        samples = [batches.next() for _ in range(32)]
        numbers = np.concatenate([sample.batch["number"] for sample in samples])
        assert (np.diff(numbers) == 1).all()
        share = (numbers[:, 0] < 2000).mean()  # 0.75, of 2048 draws: five deviations.
        assert abs(share - 0.75) < 5 * np.sqrt(0.75 * 0.25 / 2048)
        fresh = np.repeat(samples[-1].batch["number"][:, 1:, None], 2, -1)
        batches.write_back(samples[-1].ids[:, 1:], {"latent/deter": fresh})
        seen = {int(first) for first in samples[-1].batch["number"][:, 1]}
        for _ in range(20):
            batch = batches.next().batch
        rows = [i for i, first in enumerate(batch["number"][:, 0]) if int(first) in seen]
        assert rows
        latents = batch["latent/deter"][rows, 0, 0]
        np.testing.assert_array_equal(latents, batch["number"][rows, 0])
    stats = replay.stats()
    assert (stats["items"], stats["inserts"], stats["streams"]) == (400, 406, 2)
    assert 0 < stats["replay_ratio"] < 64 * 60 * 3 / 406
    replay.save(tmp_path / "replay", "mark").wait()
    replay.add(steps(1, 303, 20), [1])
    replay.close()
    other, _ = make()
    loaded = other.load(tmp_path / "replay", "mark")
    assert (loaded.steps, loaded.exact) == (406, True)
    assert sorted(other.open_streams()) == [1, 2]
    other.add(steps(1, 303, 4), [1])
    assert other.stats()["items"] == 404  # Across the border of the two.


def test_a_killed_shard_is_given_again_what_it_had_not_saved(make, tmp_path):
    replay, notes = make()
    for stream in (1, 2):
        replay.add(steps(stream, 0, 20), [stream])
    replay.save(tmp_path / "replay", "mark").wait()
    replay.add(steps(1, 20, 20), [1])
    replay.add(steps(1, 40, 3), [1])
    batch, ids = replay.gather(replay.plan(32))
    kill(replay, 0)
    # What was drawn of the dead one is not written into what has its place.
    replay.write(replay.locate(ids), {"latent/deter": np.ones((32, LENGTH, 2), np.float32)})
    found = contents(replay)
    assert len(found) == 40 + 17
    assert whole(found)
    assert replay.stats()["inserts"] == 63
    (note,) = notes
    assert "23 steps that it had not saved were given to it again, and up to 0 are lost" in note
    first = batch["number"][:, 0] < 2000
    assert first.any()
    replay.end(1)
    saving = replay.save(tmp_path / "replay", "later")
    kill(replay, 0)  # It saves again.
    replay.add(steps(2, 20, 4), [2])
    saving.wait()
    assert len(contents(replay)) == 40 + 21
    assert len(notes) == 2
    saving = replay.save(tmp_path / "replay", "last")
    kill(replay, 0)
    assert len(contents(replay)) == 40 + 21
    saving.wait()  # Of a shard that has another epoch by now.
    assert " 0 steps that it had not saved were given to it again" in notes[2]


def test_what_cannot_be_given_again_is_told_and_nothing_counts_twice(make, tmp_path):
    replay, notes = make(capacity=40, kept=20)
    replay.add(steps(1, 0, 30), [1])
    for begin in range(0, 40, 10):  # Half of this is kept, and nothing saved.
        replay.add(steps(2, begin, 10), [2])
    replay.stats()
    kill(replay, 1)
    found = contents(replay)
    assert whole(found)
    assert sum(number >= 2000 for number in found) == 17
    assert " 20 steps that it had not saved were given to it again, and up to 20 are" in notes[0]
    replay.save(tmp_path / "replay", "mark").wait()
    oldest = tmp_path / "replay" / "shard-0" / "0000000000.chunk"
    assert oldest.exists()
    replay.add(steps(1, 30, 30), [1])
    while oldest.exists():  # The save is no longer whole.
        time.sleep(0.01)
    replay.stats()
    kill(replay, 0)
    found = contents(replay)
    assert whole(found)
    assert replay.stats()["items"] == len(found)
    assert " 0 steps that it had not saved were given to it again, and up to 30 are" in notes[1]
    replay.add(steps(1, 60, 20), [1])  # A new stream: it lacks steps before.


@pytest.fixture
def train(tmp_path, cache, notes):
    """Trains with two actors and two shards; options are dotted keys."""

    def start(*more, **options):
        given = {"run.save_every": 0, "run.report_every": 0, "logger.outputs": ["jsonl"]}
        given |= {"jax.cache_dir": cache}
        given |= {} if "script" in options else {"ray.chunk": 8, "ray.replay_shards": 2}
        given |= {"logdir": tmp_path / "run", "run.env_max_restarts": 1, **options}
        configs = ["debug", "parallel", *more]
        return reverie.train(Counter, configs, sinks=[notes], **given)

    return start


def test_what_a_single_process_saved_is_not_taken_for_nothing(tmp_path):
    (tmp_path / "0000000000.chunk").touch()
    config = load(["--script", "parallel", "--ray.replay_shards", "2"])
    needed = types.SimpleNamespace(folder=tmp_path)
    with pytest.raises(ConfigError, match="was saved by a single process"):
        experience.replay(config, {}, {}, needed)


def test_a_run_trains_through_a_killed_shard(train, tmp_path, notes):
    killed = []

    def strike(run):
        if run.steps > 120 and not killed:
            killed.append(run.steps)
            run.save_now()
            kill(run.replay, 1)

    outcome = train(**{"run.steps": 300, "callbacks": [strike]})
    assert abs(outcome.updates - (outcome.steps - 18) / 2) <= 8
    record = read_jsonl(tmp_path / "run" / "metrics.jsonl")[-1]
    assert record["replay/inserts"] == record["replay/steps"] == outcome.steps
    assert any("shard 1 goes on with" in text for text in notes.texts)
    assert {x["episode/score"] for x in read_jsonl(tmp_path / "run" / "scores.jsonl")} == {10.0}
    with pytest.raises(ConfigError, match=r"ray\.replay_shards: saved 2, now 1 \(not allowed"):
        train(**{"run.steps": 380, "ray.replay_shards": 1})
    for shards, message in ((0, "saved 2, now 0"), (2, "was saved by 2 processes")):
        path = tmp_path / "mine.yaml"
        path.write_text(f"ray.replay_shards: {shards}")
        with pytest.raises(ConfigError, match=message):
            train(path, **{"run.steps": 380, "script": "train"})


@pytest.mark.slow
def test_a_run_goes_on_with_as_many_shards(train, tmp_path, notes):
    first = train(**{"run.steps": 200})
    second = train(**{"run.steps": 300, "run.final_eval_eps": 1})  # With a report.
    assert any(f"with {first.steps:,} steps in replay" in text for text in notes.texts)
    records = read_jsonl(tmp_path / "run" / "metrics.jsonl")
    record = next(x for x in reversed(records) if "replay/inserts" in x)
    assert record["replay/inserts"] == record["replay/steps"] == second.steps
    assert abs(second.updates - (second.steps - 18) / 2) <= 8
    assert (tmp_path / "run" / "openloop").is_dir()
    assert {path.name for path in (tmp_path / "run" / "replay").iterdir()} == {
        "shard-0",
        "shard-1",
    }
