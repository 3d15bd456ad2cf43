"""Clocks: what is due, and what may take only a share of the time."""

import functools
import types

import pytest

from reverie import Every
from reverie.run.hooks import SideWork


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def ticks(every, clock, times):
    result = []
    for clock.now in times:
        result.append(every())
    return result


def test_every_interval_once():
    clock = Clock()
    every = Every(10, lambda: None, clock)
    times = [100, 109.9, 110, 110.1, 119, 120, 121]
    assert ticks(every, clock, times) == [False, False, True, False, False, True, False]


def test_an_interval_counts_from_the_end_of_what_was_done():
    clock = Clock()

    def work():
        clock.now += 30

    every = Every(10, work, clock)
    assert ticks(every, clock, [110, 140, 149.9, 150]) == [True, False, False, True]
    assert clock.now == 180


def test_an_interval_can_begin_anew():
    clock = Clock()
    every = Every(10, lambda: None, clock)
    clock.now = 109
    every.restart()
    assert ticks(every, clock, [110, 118.9, 119]) == [False, False, True]


@pytest.mark.parametrize(("seconds", "answer"), [(0, True), (-1, False)])
def test_every_always_and_never(seconds, answer):
    clock = Clock()
    every = Every(seconds, lambda: None, clock)
    assert ticks(every, clock, [100, 100, 10**9]) == [answer] * 3


class Work:
    """Jobs within a share of the time, which take as long as they are told and say what they do."""

    def __init__(self, clock, share, *seconds):
        self.clock, self.notes = clock, []
        self.begun = [[] for _ in seconds]
        self.spent = 0.0
        jobs = [(10, functools.partial(self.work, *job)) for job in enumerate(seconds)]
        self.side = SideWork(share, jobs, clock)
        self.logger = types.SimpleNamespace(note=self.notes.append)

    def work(self, number, seconds, run):
        assert run is self
        self.begun[number].append(self.clock.now)
        self.clock.now += seconds
        self.spent += seconds

    def done(self, times):
        """What is spent at each of these times."""
        found = []
        for self.clock.now in times:
            before = self.spent
            self.side(self)
            found.append(self.spent - before)
        return found


def test_side_work_keeps_to_its_share_and_nothing_starves():
    clock = Clock()
    work = Work(clock, 0.1, 8, 2)
    while clock.now < 1100:
        work.side(work)
        clock.now += 1
    assert work.spent == pytest.approx(100, abs=10)
    assert len(work.begun[0]) == len(work.begun[1]) >= 9
    (note,) = work.notes
    assert "took 10.0 seconds, so the next one waits 90 seconds or more" in note


def test_side_work_that_is_quick_keeps_its_intervals():
    work = Work(Clock(), 0.1, 0.5)
    assert work.done([109, 110, 120, 120.5]) == [0, 0.5, 0, 0.5]
    assert not work.notes


def test_a_whole_share_is_no_limit():
    work = Work(Clock(), 1.0, 50)
    assert work.done([110, 169, 170]) == [50, 0, 50]
    assert not work.notes
