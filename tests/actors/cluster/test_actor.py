"""The process of an actor, called in this one: chunks, and which of them are given again."""

import functools

import cloudpickle
import numpy as np
import pytest
from ray import exceptions

from reverie.actors.cluster import actor as module
from reverie.actors.cluster.actor import EnvActor, Work
from reverie.actors.cluster.chunk import ActorError, Chunk, Failure, Started, joined
from reverie.envs import registry
from reverie.envs.vector.vector import open_envs


class Nobody:
    """Acts without parameters."""

    def init(self, num):
        return None

    def act(self, carry, obs, mode="train"):
        return None, {"action": np.zeros(len(obs["is_first"]), np.int32)}, {}

    def prepare(self, num):
        pass


@pytest.fixture
def started(monkeypatch):
    """An actor with two environments, as far as it is when it has started."""
    monkeypatch.setattr("reverie.learner.policy.Policy", lambda *args, **options: Nobody())
    monkeypatch.setattr("reverie.learner.compilation.cache.configure_cache", lambda folder: "")
    monkeypatch.setattr(module, "_ENVIRON", {})
    monkeypatch.setattr(module, "Printed", lambda: type("P", (), {"take": lambda self: ()})())
    monkeypatch.setattr("sys.path", [*__import__("sys").path])
    factory = registry.factory_of("gym_CartPole-v1", {})
    envs = functools.partial(open_envs, [factory] * 2, None, backend="sync")
    made = EnvActor([], ".")
    work = cloudpickle.dumps(Work(lambda: None, envs, steps=3))
    assert isinstance(made.start("one", work, 0, None), Started)
    made._version = 0
    yield made, work
    made.close()


def numbers(actor, session, count):
    return [actor.collect(session, 0, []).number for _ in range(count)]


def test_a_chunk_has_so_many_consecutive_steps_of_streams_of_its_own(started):
    actor, work = started
    first, second = (actor.collect("one", 0, []) for _ in range(2))
    assert isinstance(first, Chunk)
    assert first.steps["is_first"].tolist() == [[True] * 2, [False] * 2, [False] * 2]
    assert not second.steps["is_first"].any()
    assert first.streams == second.streams == (first.incarnation, first.incarnation + 1)
    assert (first.number, second.number) == (0, 1)
    actor.close()
    again = actor.start("one", work, 0, (first.incarnation, 1))
    assert again.incarnation != first.incarnation


def test_what_is_not_saved_is_given_again_to_a_learner_that_resumes_behind_it(started):
    actor, work = started
    assert numbers(actor, "one", 5) == [0, 1, 2, 3, 4]
    actor.durable(actor._incarnation, 1)
    found = actor.start("two", work, 0, (actor._incarnation, 1))
    assert (found.incarnation, found.lost) == (actor._incarnation, 0)
    assert actor.collect("one", 0, []) is None  # Nobody would take it.
    assert numbers(actor, "two", 4) == [2, 3, 4, 5]
    # Nothing of what a checkpoint before the first one lacks is there any more.
    assert actor.start("three", work, 0, None).lost == 2


def test_steps_go_on_when_parameters_are_lost_with_their_learner(started, monkeypatch):
    def lost(ref):
        raise exceptions.OwnerDiedError(ref, None, "")

    actor, _ = started
    first = actor.collect("one", 0, [])
    monkeypatch.setattr("ray.get", lost)
    second = actor.collect("one", 1, ["of a dead learner"])
    assert (second.incarnation, second.number, second.version) == (first.incarnation, 1, 0)
    actor._version = -1  # It has none yet.
    assert actor.collect("one", 1, ["of a dead learner"]) is None


def test_what_is_too_much_to_keep_is_counted_as_lost(started, monkeypatch):
    actor, work = started
    (size,) = {actor.collect("one", 0, []).nbytes}
    monkeypatch.setattr(module, "KEPT_BYTES", 2 * size)
    numbers(actor, "one", 4)
    assert actor.start("two", work, 0, (actor._incarnation, 0)).lost == 2
    assert numbers(actor, "two", 3) == [3, 4, 5]


def test_slow_environments_hand_over_what_they_have(started, monkeypatch):
    monkeypatch.setattr(module, "CHUNK_SECONDS", 0.0)
    assert len(started[0].collect("one", 0, []).steps["is_first"]) == 1


class Odd(Exception):
    """Comes back from its message alone, and cannot."""

    def __init__(self, one, two):
        super().__init__(one + two)


def test_what_an_actor_raised_is_raised_or_told():
    assert str(Failure.of(KeyError("x")).error("Actor 1")) == "'x'"
    told = Failure.of(Odd("a", "b")).error("Actor 1")
    assert isinstance(told, ActorError)
    assert str(told).startswith("Actor 1 raised Odd: ab\n\nIn its process:\n")


def test_steps_without_a_log_value_get_none():
    rows = [{"a": np.zeros((1, 2)), "log/x": np.ones((1, 2), np.float32)}, {"a": np.ones((1, 2))}]
    found = joined(rows)
    assert found["a"].tolist() == [[0, 0], [1, 1]]
    np.testing.assert_array_equal(found["log/x"], [[1, 1], [np.nan, np.nan]])
