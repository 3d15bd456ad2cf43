"""One process at a time trains in a run folder."""

import errno
import fcntl
import os
import signal
import socket
import subprocess
import sys

import pytest

from reverie.run.saved.folder import FolderInUseError, RunFolder

HOLD = """
import pathlib, subprocess, sys
from reverie.run.saved.folder import RunFolder
with RunFolder(pathlib.Path(sys.argv[1])).locked():
    child = subprocess.Popen(["sleep", "1000"], stdout=subprocess.DEVNULL)
    print(child.pid, flush=True)
    sys.stdin.read()
child.kill()
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the lock, and a process that it started."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    child = int(process.stdout.readline())
    yield process
    process.kill()
    process.communicate()
    os.kill(child, signal.SIGKILL)


def test_a_second_process_is_refused_and_told_who_holds_the_folder(holder, tmp_path):
    with pytest.raises(FolderInUseError) as caught, RunFolder(tmp_path).locked():
        pass
    message = str(caught.value)
    assert f"in {tmp_path}: process {holder.pid} on {socket.gethostname()}." in message
    assert "choose another logdir" in message


def test_a_killed_process_frees_the_folder_though_its_children_live(holder, tmp_path):
    holder.kill()
    holder.wait()
    with RunFolder(tmp_path).locked():
        assert str(os.getpid()) in (tmp_path / ".lock").read_text()


def test_leaving_frees_the_folder_for_the_next(tmp_path):
    for _ in range(2):
        with (
            RunFolder(tmp_path).locked(),
            pytest.raises(FolderInUseError),
            RunFolder(tmp_path).locked(),
        ):
            pass


def test_a_file_system_without_locks_is_no_hindrance(tmp_path, monkeypatch):
    def refuse(file, operation):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with RunFolder(tmp_path).locked():
        pass


def test_training_in_a_folder_in_use_changes_nothing_there(holder, make_config, tmp_path):
    from reverie.run.scripts import launch

    with pytest.raises(FolderInUseError, match=f"process {holder.pid}"):
        launch(make_config(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]
