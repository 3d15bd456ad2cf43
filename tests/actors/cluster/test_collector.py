"""Which actors the learner asks, with stand-ins for Ray and for the actors."""

import functools
import types

import numpy as np
import pytest
from ray import exceptions

from reverie.actors.cluster import collector as module
from reverie.actors.cluster.chunk import ActorError, Chunk, Started
from reverie.actors.cluster.collector import RayCollector
from reverie.envs.vector.restarts import Restarts
from reverie.learner.policy import Params

NEVER = object()
"""What a call has answered that waits for ever."""


class Call:
    """Stands for what an actor has answered."""

    def __init__(self, answer):
        self.answer = answer


def get(call):
    if isinstance(call.answer, Exception):
        raise call.answer
    return call.answer


class Actor:
    """Answers at once; dies before a call of `collect`, and Ray has replaced it by then."""

    def __init__(self, dies: int):
        self.starts, self.collects, self.dies, self.session = 0, 0, dies, ""
        self.__ray_ready__ = types.SimpleNamespace(remote=lambda: Call(True))
        for name in ("start", "collect"):
            answer = functools.partial(self._answer, getattr(self, f"_{name}"))
            setattr(self, name, types.SimpleNamespace(remote=answer))

    def _answer(self, method, *args):
        return Call(method(*args))

    def _start(self, session, work, seed, known):
        self.session = session
        self.starts += 1
        return Started(self.starts << 16, 1, 0, "sync")

    def _collect(self, session, version, params):
        self.collects += 1
        if self.collects == self.dies:
            self.session = ""
        if session != self.session:
            return None
        return Chunk({"is_first": np.zeros((1, 1), bool)}, self.starts << 16, self.collects, 0)


class Clock:
    """Time passes where somebody waits."""

    now = 0.0

    def monotonic(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds


class Dying(Actor):
    """Dies whenever it starts, after which Ray takes its time to replace it."""

    def __init__(self):
        super().__init__(0)
        self.asked = 0
        self.__ray_ready__ = types.SimpleNamespace(remote=self._ready)

    def _ready(self):
        self.asked += 1
        return Call(
            True if self.asked % 3 == 0 else exceptions.ActorUnavailableError("", b"1" * 16)
        )

    def _start(self, *args):
        self.starts += 1
        if self.starts > 9:
            pytest.fail("it would go on for ever")
        return exceptions.ActorUnavailableError("", b"1" * 16)


class Stuck(Actor):
    """Dies, and does not come back from starting again."""

    def _start(self, *args):
        started = super()._start(*args)
        return started if self.starts == 1 else NEVER


@pytest.fixture
def clock(monkeypatch):
    made = Clock()
    monkeypatch.setattr(module, "time", made)
    return made


@pytest.fixture
def collector(monkeypatch, clock):
    """Makes one, of actors of which one may be started again once."""

    def wait(calls, timeout):
        ready = [call for call in calls if call.answer is not NEVER]
        clock.sleep(0 if ready else timeout)
        return ready, []

    kill = lambda actor, no_restart: None  # noqa: E731
    ray = types.SimpleNamespace(put=lambda x: x, get=get, wait=wait, kill=kill)
    monkeypatch.setattr(module, "ray", ray)

    def make(*actors, told):
        restarts = Restarts(1, 3600, name="Actor {}", tell=told.append)
        how = {"session": "one", "seed": 0, "timeout": 10.0, "restarts": restarts, "note": str}
        made = RayCollector(actors, b"", cancelled=lambda: clock.now > 1000, **how)
        made.set_params(Params(0, ()))
        return made

    return make


def test_an_actor_that_was_replaced_while_it_had_nothing_to_do_is_started_again(collector):
    actor, told = Actor(dies=4), []
    made = collector(actor, told=told)
    streams = [made.collect().streams[0] >> 16 for _ in range(6)]
    assert streams == [1, 1, 1, 2, 2, 2]
    (text,) = told
    assert text.startswith("The process of actor 0 has died or is out of reach. Actor 0 is restar")


def test_an_actor_that_dies_whenever_it_starts_ends_the_run(collector):
    actor, told = Dying(), []
    with pytest.raises(ActorError, match="The process of actor 0 has died or is out of reach"):
        collector(actor, told=told).collect()
    assert (actor.starts, actor.asked) == (2, 6)
    assert "Actor 0 is restarted, number 1 of at most 1 restarts" in told[0]


def test_an_actor_that_hangs_while_it_is_started_again_is_killed(collector, clock):
    made = collector(Stuck(dies=2), told=[])
    made.collect()
    with pytest.raises(ActorError, match="Actor 0 gave no steps for 130 seconds and was killed"):
        made.collect()
    assert clock.now < 135


def test_all_actors_are_told_what_is_saved_although_steps_come_meanwhile(collector):
    actors, told = [Actor(0) for _ in range(3)], []
    made = collector(*actors, told=[])
    for _ in actors:
        made.collect()
    for actor in actors:

        def remote(incarnation, number, actor=actor):
            told.append(actor)
            made.collect()  # As in the thread of the loop: saves are made in another one.

        actor.durable = types.SimpleNamespace(remote=remote)
    made.durable(made.counters)
    assert told == actors
