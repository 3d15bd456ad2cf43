"""Prioritized drawing through the public interface of replay.

Steps are told apart by their number (see conftest); a sequence has four of them, chunks three.
"""

import numpy as np
import pytest
from write_back import write_back

from reverie.replay.chunk import OFFSET_BITS
from reverie.replay.files.storage import RamStorage
from reverie.replay.selectors.prioritized import Prioritized


@pytest.fixture
def storage():
    """A selector knows nothing of storage; `test_replay_model` has all of both."""
    return RamStorage


@pytest.fixture
def make(make_replay, fill):
    """Makes a replay with steps 0, 1, 2, ... in one stream."""

    def run(steps=9, streams=1, **options):
        replay = make_replay(online=False, chunksize=3, selector=Prioritized(**options))
        fill(replay, streams, steps)
        return replay

    return run


def give(replay, priorities, rows=3):
    """New priorities of the steps with these numbers."""
    for number, priority in priorities.items():
        write_back(replay, ids(replay, [number], rows), {}, np.full((1, 1), priority, np.float32))


def ids(replay, numbers, rows=3):
    """Streams take turns in opening chunks, whose ids are their serial numbers shifted."""
    streams = replay.stats()["streams"] or 1  # None after a load.
    places = [(n % 100 // rows * streams + n // 100, n % 100 % rows) for n in numbers]
    return np.array([[(serial << OFFSET_BITS) + offset for serial, offset in places]])


def first_numbers(plan):
    found = np.zeros(len(plan), np.int32)
    for i, (piece, *_) in enumerate(plan.pieces):
        piece.chunk.read(piece.start, 1, {"action": found}, i)
    return found.tolist()


def probe(replay, count=20_000):
    return first_numbers(replay.plan(count, probe=np.random.default_rng(0)))


def weight(priorities, exponent=1.0, maxfrac=0.5):
    raised = [p**exponent for p in priorities]
    return maxfrac * max(raised) + (1 - maxfrac) * sum(raised) / len(raised)


@pytest.mark.parametrize(
    ("exponent", "maxfrac"), [(0.8, 0.5), (1.0, 1.0), (2.0, 0.0), (0.5, 0.25), (0.0, 0.5)]
)
def test_a_sequence_weighs_what_its_steps_do(make, assert_drawn, exponent, maxfrac):
    replay = make(exponent=exponent, maxfrac=maxfrac, zero_on_sample=False)
    priorities = [4.0, 0.0, 1.0, 9.0, 16.0, 1.0, 0.0, 0.0, 2.0]
    give(replay, dict(enumerate(priorities)))
    exact = {i: weight(priorities[i : i + 4], exponent, maxfrac) for i in range(6)}
    assert_drawn(probe(replay), exact)


def test_steps_that_are_not_trained_have_no_part_in_it(make, assert_drawn):
    replay = make(steps=6, context=2, exponent=1.0, maxfrac=0.0)
    give(replay, {2: 1.0, 3: 3.0, 4: 5.0, 5: 7.0})
    assert_drawn(probe(replay), {0: 2.0, 1: 4.0, 2: 6.0})


def test_new_sequences_come_before_all_others(make, fill, assert_drawn):
    replay = make(zero_on_sample=False)
    give(replay, dict.fromkeys(range(8), 1e6))
    assert replay.stats()["priority_new"] == 1 / 6
    assert set(probe(replay)) == {5}
    fill(replay, 1, 2, start=9)
    assert_drawn(probe(replay), {5: 1, 6: 1, 7: 1})
    give(replay, dict.fromkeys(range(12), 1.0))
    assert_drawn(probe(replay), dict.fromkeys(range(8), 1))
    assert replay.stats()["priority_new"] == 0


def test_a_finite_initial_priority_is_one_like_any_other(make, assert_drawn):
    replay = make(steps=6, initial=2.0, exponent=1.0, maxfrac=1.0)
    give(replay, {5: 10.0})
    assert_drawn(probe(replay), {0: 2.0, 1: 2.0, 2: 10.0})


def test_if_all_priorities_are_zero_all_sequences_are_equal(make, assert_drawn):
    replay = make()
    give(replay, dict.fromkeys(range(9), 0.0))
    assert_drawn(probe(replay), dict.fromkeys(range(6), 1))
    give(replay, {8: 1e-30})
    assert set(probe(replay)) == {5}


def test_a_batch_takes_every_new_sequence_once_before_anything_twice(make):
    replay = make(steps=40, streams=2)
    give(replay, dict.fromkeys([*range(32), *range(100, 132)], 1e9))
    fresh = {n + 100 * stream for n in range(29, 37) for stream in range(2)}
    assert set(probe(replay)) == fresh
    # Each draw takes one of the sixteen new steps at least, and at most 64 of all 80 steps.
    taken = first_numbers(replay.plan(16))
    assert {number for start in taken for number in range(start, start + 4)} >= {
        n + 100 * stream for n in range(32, 40) for stream in range(2)
    }
    # Those that have no other steps are not drawn while anything else has a priority.
    assert not {n + 100 * stream for n in range(32, 37) for stream in range(2)} & set(probe(replay))


def test_a_drawn_sequence_waits_for_its_update(make):
    replay = make(steps=8)
    give(replay, dict.fromkeys(range(8), 1.0))
    start = first_numbers(replay.plan(1))[0]
    assert start not in probe(replay)
    give(replay, {start: 1.0})
    assert start in probe(replay)


def test_a_chunk_that_is_evicted_after_a_draw_is_not_drawn(make_replay, fill):
    replay = make_replay(online=False, capacity=12, chunksize=2, selector=Prioritized())
    fill(replay, 1, 12)
    give(replay, dict.fromkeys(range(12), 1.0), rows=2)
    replay.plan(4)  # Weights are out of date now.
    fill(replay, 1, 1, start=12)
    assert {0, 1}.isdisjoint(probe(replay))


def test_probes_leave_priorities_as_they_are(make):
    replay = make()
    give(replay, {n: float(n) for n in range(9)})
    assert probe(replay) == probe(replay)


def test_zeroing_counts_within_the_batch(make, assert_drawn):
    """Two draws of one batch are distributed as two draws that follow one another."""
    replay = make(steps=8, exponent=1.0)
    priorities = [1.0, 5.0, 1.0, 1.0, 2.0, 2.0, 8.0, 1.0]
    exact = {}
    first = {a: weight(priorities[a : a + 4]) for a in range(5)}
    for a in first:
        rest = [0.0 if a <= n < a + 4 else p for n, p in enumerate(priorities)]
        second = {b: weight(rest[b : b + 4]) for b in range(5)}
        # Nothing is left after the sequence in the middle only if that holds the whole weight.
        assert sum(second.values()) > 0
        for b in second:
            exact[a, b] = first[a] / sum(first.values()) * second[b] / sum(second.values())
    pairs = []
    for _ in range(2500):
        write_back(replay, ids(replay, range(8)), {}, np.array([priorities], np.float32))
        pairs.append(tuple(first_numbers(replay.plan(2))))
    assert_drawn(pairs, exact)


def test_rows_that_are_used_again_are_new(make_replay, fill, assert_drawn):
    selector = Prioritized(zero_on_sample=False, exponent=1.0, maxfrac=0.0)
    replay = make_replay(online=False, capacity=16, chunksize=3, selector=selector)
    fill(replay, 1, 16)
    give(replay, dict.fromkeys(range(16), 0.0))
    fill(replay, 1, 16, start=16)
    assert replay.stats()["priority_new"] == 1
    give(replay, {n: float(n == 25) for n in range(16, 32)})
    assert_drawn(probe(replay), dict.fromkeys([22, 23, 24, 25], 1))


def test_steps_may_bring_their_priority_along(make_replay, step, assert_drawn):
    selector = Prioritized(exponent=1.0, maxfrac=0.0, zero_on_sample=False)
    replay = make_replay(online=False, chunksize=3, selector=selector)
    for t in range(9):
        given = float(t) if t > 3 else np.nan
        replay.add(step([t, 100 + t]), [0, 1], np.array([[given, 1.0]], np.float32))
    own = {100 + t: 1 for t in range(6)}
    assert_drawn(probe(replay), dict.fromkeys(range(4), 1))
    give(replay, dict.fromkeys(range(4), 0.0))
    first = {t: sum(n for n in range(t, t + 4) if n > 3) / 4 for t in range(6)}
    assert_drawn(probe(replay), first | own)


@pytest.mark.parametrize("values", [[1.0], [[1.0, 1.0]], [1.0, -2.0]])
def test_priorities_of_new_steps_are_checked_before_anything_is_stored(make_replay, step, values):
    replay = make_replay()
    with pytest.raises(ValueError, match=r"what replay\.priosignal names"):
        replay.add(step([0, 100]), [0, 1], np.array([values]))
    assert replay.stats()["steps"] == 0


def test_priorities_survive_a_restart(make, make_replay, tmp_path, assert_drawn):
    options = {"exponent": 2.0, "maxfrac": 0.0}
    replay = make(**options)
    priorities = {n: 1.0 + n for n in range(9)}
    give(replay, priorities)
    taken = first_numbers(replay.plan(1))[0]
    replay.save(tmp_path).wait()
    for exponent in (2.0, 1.0):
        restored = make_replay(chunksize=3, selector=Prioritized(exponent=exponent, maxfrac=0.0))
        assert restored.load(tmp_path).damaged == ()
        # What waited for an update is new again.
        overlapping = {n for n in range(6) if abs(n - taken) < 4}
        assert_drawn(probe(restored), dict.fromkeys(overlapping, 1))
        give(restored, {n: priorities[n] for n in range(taken, taken + 4)})
        exact = {n: sum(priorities[m] ** exponent for m in range(n, n + 4)) for n in range(6)}
        assert_drawn(probe(restored), exact)


def test_lost_priorities_are_reported_and_all_is_new(make, make_replay, tmp_path):
    replay = make()
    give(replay, dict.fromkeys(range(9), 1.0))
    replay.save(tmp_path).wait()
    content = bytearray((tmp_path / "selector").read_bytes())
    content[-190] ^= 1  # Three arrays of 64 bytes with their padding.
    (tmp_path / "selector").write_bytes(content)
    restored = make_replay(chunksize=3, selector=Prioritized())
    loaded = restored.load(tmp_path)
    assert len(loaded.damaged) == 1
    assert "selector" in loaded.damaged[0]
    assert restored.stats()["priority_new"] == 1


def test_other_selectors_read_what_this_one_saved(make, make_replay, tmp_path):
    replay = make()
    replay.save(tmp_path).wait()
    plain = make_replay(chunksize=3)
    assert plain.load(tmp_path).damaged == ()
    plain.save(tmp_path).wait()
    assert not (tmp_path / "selector").exists()


def test_looking_in_between_changes_no_draw(make_replay, fill):
    """Logs and reports come at times that differ from run to run."""
    drawn = []
    for look in (False, True):
        replay = make_replay(online=False, chunksize=3, capacity=60, selector=Prioritized())
        drawn.append([])
        for t in range(40):
            fill(replay, 2, 3, start=3 * t)
            if t:
                batch, ids = replay.gather(replay.plan(4))
                drawn[-1] += batch["action"].tolist()
                if look:
                    replay.stats()
                    replay.plan(7, probe=np.random.default_rng(t))
                write_back(replay, ids, {}, np.full(ids.shape, 1.0 + t % 5, np.float32))
                if look:
                    replay.plan(7, probe=np.random.default_rng(t))
    assert drawn[0] == drawn[1]


def test_streams_do_not_mix(make, assert_drawn):
    replay = make(steps=7, streams=3, exponent=1.0, maxfrac=0.0)
    numbers = [100 * stream + t for stream in range(3) for t in range(7)]
    give(replay, {n: float(n == 103) for n in numbers})
    assert_drawn(probe(replay), dict.fromkeys([100, 101, 102, 103], 1))


@pytest.mark.parametrize(
    "options",
    [{"exponent": -1}, {"maxfrac": 1.5}, {"initial": -1}, {"context": -1}, {"context": 4}],
)
def test_impossible_settings_are_refused(make, options):
    with pytest.raises(ValueError, match=next(iter(options))):
        make(**options)


def test_drawing_from_nothing_is_an_error():
    with pytest.raises(IndexError, match="No sequence"):
        Prioritized().sample(1, np.random.default_rng(0))
