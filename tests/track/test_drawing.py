"""Pictures drawn beside the run."""

import threading

import pytest

from reverie.track.drawing import Drawing


@pytest.fixture
def notes():
    return []


@pytest.fixture
def drawing(notes):
    return Drawing(notes.append)


def test_drawing_happens_elsewhere_and_one_picture_waits_at_most(drawing):
    drawn, begun, release = [], threading.Event(), threading.Event()

    def first():
        begun.set()
        release.wait(10)
        drawn.append(threading.current_thread().name)

    drawing(first)
    assert begun.wait(10)
    drawing(lambda: drawn.append("waited"))
    drawing(lambda: drawn.append("left out"))
    assert drawing.busy
    assert drawn == []
    release.set()
    drawing.wait()
    assert drawn == ["drawing", "waited"]
    assert not drawing.busy


def test_an_error_is_told_once_and_drawing_goes_on(drawing, notes):
    drawn = []
    for _ in range(2):
        drawing(lambda: 1 / 0)
        drawing.wait()
    drawing(lambda: drawn.append(1))
    drawing.wait()
    assert drawn == [1]
    assert len(notes) == 1
    assert "goes on without it: ZeroDivisionError: division by zero" in notes[0]


def test_the_time_of_drawing_is_known_once(drawing):
    drawing(lambda: threading.Event().wait(0.05))
    while drawing.busy:
        threading.Event().wait(0.01)
    assert drawing.check() >= 0.05
    assert drawing.check() == 0
