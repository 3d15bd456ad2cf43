"""Pictures drawn beside the run."""

import threading

import pytest

from reverie.track import Painter


@pytest.fixture
def notes():
    return []


@pytest.fixture
def painter(notes):
    return Painter(notes.append)


def test_drawing_happens_elsewhere_and_one_picture_waits_at_most(painter):
    drawn, begun, release = [], threading.Event(), threading.Event()

    def first():
        begun.set()
        release.wait(10)
        drawn.append(threading.current_thread().name)

    painter(first)
    assert begun.wait(10)
    painter(lambda: drawn.append("waited"))
    painter(lambda: drawn.append("left out"))
    assert painter.busy
    assert drawn == []
    release.set()
    painter.wait()
    assert drawn == ["painter", "waited"]
    assert not painter.busy


def test_an_error_is_told_once_and_drawing_goes_on(painter, notes):
    drawn = []
    for _ in range(2):
        painter(lambda: 1 / 0)
        painter.wait()
    painter(lambda: drawn.append(1))
    painter.wait()
    assert drawn == [1]
    assert len(notes) == 1
    assert "goes on without it: ZeroDivisionError: division by zero" in notes[0]


def test_the_time_of_drawing_is_known_once(painter):
    painter(lambda: threading.Event().wait(0.05))
    while painter.busy:
        threading.Event().wait(0.01)
    assert painter.check() >= 0.05
    assert painter.check() == 0
