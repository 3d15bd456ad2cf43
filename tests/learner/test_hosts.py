"""What processes of a run tell each other, as processes of their own."""

import os
import subprocess
import sys
import textwrap

import pytest

from reverie.learner.placement import hosts
from reverie.learner.placement.hosts import Hosts, HostsError, connect

SCRIPT = """
    import sys
    from reverie.learner.placement.hosts import HostsError, connect

    hosts = connect("slurm", 1, 0, 200)
    assert all(hosts.gather([i, hosts.index]) == [[i, 0], [i, 1]] for i in range(250))
    hosts.complete(lambda: None, 60)
    hosts.close()
    # The next run of the same processes.
    hosts = connect("slurm", 1, 0, 200)
    assert hosts.gather(hosts.index) == [0, 1]
    try:
        hosts.complete(lambda: open("missing" if hosts.index else "/dev/null"), 60)
    except (OSError, HostsError) as error:
        print(error, file=sys.stderr)
    hosts.complete(lambda: None, 60)
    with hosts:
        if hosts.index == 1:
            raise ValueError("the reason")
        hosts.gather("never")
"""


def test_processes_of_slurm_find_each_other_and_hear_why_one_leaves(tmp_path):
    # The port follows from the number of the job.
    job = {"SLURM_JOB_ID": f"{os.getpid()}", "SLURM_STEP_NODELIST": "localhost"}
    started = []
    for i in range(2):
        tasks = {"SLURM_NTASKS": "2", "SLURM_PROCID": f"{i}", "SLURM_LOCALID": f"{i}"}
        command = [sys.executable, "-c", textwrap.dedent(SCRIPT)]
        env = {**os.environ, **job, **tasks}
        started.append(subprocess.Popen(command, env=env, stderr=subprocess.PIPE, text=True))
    zero, one = (process.communicate(timeout=400)[1] for process in started)
    assert [process.returncode for process in started] == [1, 1], zero + one
    assert "ValueError: the reason" in one
    assert "Process 1 of the run could not save its part" in zero
    assert "missing" in zero
    assert "could not save its part" not in one
    assert "HostsError: Process 1 of the run has ended, and so does this one: ValueError" in zero


def test_one_process_asks_nobody(monkeypatch):
    monkeypatch.setattr(hosts, "_client", None)
    for alone in (Hosts(), connect("", 1, 0, 1), connect("nowhere:1", 1, 0, 1)):
        with alone:
            assert alone.gather({"a": 1}) == [{"a": 1}]
            alone.complete(lambda: None, 1)
            alone.close()
    assert not hosts._vanishing.is_set()


def test_slurm_has_to_be_there(monkeypatch):
    monkeypatch.delenv("SLURM_PROCID", raising=False)
    with pytest.raises(HostsError, match=r"SLURM_PROCID is not set: start the processes with srun"):
        connect("slurm", 1, 0, 1)
