"""Saving beside the run."""

import errno
import threading

import pytest

from reverie.disk import DiskFullError, explain_full_disk
from reverie.run.saved import saver
from reverie.run.saved.folder import RunFolder


@pytest.fixture
def notes():
    return []


@pytest.fixture
def folder(tmp_path):
    folder = RunFolder(tmp_path)
    with folder.locked():
        yield folder


@pytest.fixture
def made(notes, folder):
    made = saver.Saver(folder, notes.append, reserve=1)
    yield made
    made.close()


def test_a_save_runs_beside_its_caller_and_is_told_when_it_is_durable(made, notes):
    release = threading.Event()
    made.start(lambda: release.wait(10), "first")
    made.check()
    assert notes == []
    release.set()
    made.wait()
    assert notes == ["first"]
    made.check()
    assert notes == ["first"]


def test_the_next_save_waits_for_the_one_before(made, notes):
    release, order = threading.Event(), []
    made.start(lambda: order.append(release.wait(10)), "first")
    threading.Timer(0.05, release.set).start()
    made.start(lambda: order.append("second"), "second")
    made.wait()
    assert order == [True, "second"]
    assert notes == ["first", "second"]


def test_what_a_save_raises_arrives_once(made, notes):
    def fail():
        raise ValueError("no such thing")

    made.start(fail, "never")
    with pytest.raises(ValueError, match="no such thing"):
        made.wait()
    made.check()
    made.wait()
    assert notes == []


def test_too_little_room_for_the_next_save(folder):
    tight = saver.Saver(folder, print, reserve=1 << 60)
    with pytest.raises(DiskFullError, match=f"{folder.root} has .* MB left, and the next save may"):
        tight.check()
    tight.close()


def test_a_full_disk_is_told_whoever_has_met_it(tmp_path):
    for error in (OSError(errno.ENOSPC, "x"), ValueError("Error: No space left on device")):
        with pytest.raises(DiskFullError), explain_full_disk(tmp_path):
            raise RuntimeError("writing failed") from error
    with pytest.raises(OSError, match="read-only") as caught, explain_full_disk(tmp_path):
        raise OSError(errno.EROFS, "read-only")
    assert not isinstance(caught.value, DiskFullError)
