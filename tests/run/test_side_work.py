"""Clocks: what is due, and what may take only a share of the time."""

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


class Jobs:
    """Two jobs that take as long as they are told, and keep the times of their beginnings."""

    def __init__(self, clock, *seconds):
        self.clock = clock
        self.begun = [[] for _ in seconds]
        self.jobs = [Every(10, lambda n=n: self.work(n), clock) for n in range(len(seconds))]
        self.seconds = seconds

    def work(self, number):
        self.begun[number].append(self.clock.now)
        self.clock.now += self.seconds[number]


def test_side_work_keeps_to_its_share_and_nothing_starves():
    clock = Clock()
    jobs = Jobs(clock, 8, 2)
    side, spent = SideWork(0.1, jobs.jobs, clock), 0.0
    while clock.now < 1100:
        spent += side()[0]
        clock.now += 1
    assert spent == pytest.approx(100, abs=10)
    assert len(jobs.begun[0]) == len(jobs.begun[1]) >= 9


def test_side_work_that_is_quick_keeps_its_intervals():
    clock = Clock()
    jobs = Jobs(clock, 0.5)
    side = SideWork(0.1, jobs.jobs, clock)
    assert ticks(side, clock, [109, 110, 120, 120.5]) == [(0, 0), (0.5, 4.5), (0, 0), (0.5, 4.5)]


def test_a_whole_share_is_no_limit():
    clock = Clock()
    side = SideWork(1.0, Jobs(clock, 50).jobs, clock)
    assert ticks(side, clock, [110, 169, 170]) == [(50, 0), (0, 0), (50, 0)]
