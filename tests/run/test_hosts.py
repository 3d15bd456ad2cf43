"""Whole runs over two processes on this machine: their folder, resume, ends and faults."""

import contextlib
import fcntl
import os
import re
import signal
import subprocess
import sys
import time

import pytest
from ports import held_port

from reverie.config.load import load
from reverie.config.schema import unset
from reverie.learner.checkpoints.checkpoint import Checkpointer
from reverie.learner.placement.hosts import Hosts
from reverie.run.parts import build, setup, together
from reverie.run.parts.shutdown import Shutdown
from reverie.track.sinks.jsonl import read_jsonl

WORDS = [
    "--configs", "debug", "--task", "gym_CartPole-v1", "--batch_size", "4",
    "--run.train_ratio", "4",
    "--run.report_every", "0", "--run.log_every", "0.2", "--logger.outputs", "terminal", "jsonl",
    "--jax.platform", "cpu", "--jax.mock_devices", "2", "--jax.devices", "0", "--jax.fast_compile",
    "true",
]  # fmt: skip


class Group:
    """Processes of one run, which are in groups of their own."""

    def __init__(self, logdir, *words, each=((), ()), task=WORDS):
        self.port = held_port()
        coordinator = f"127.0.0.1:{self.port.getsockname()[1]}"
        hosts = ["--jax.coordinator", coordinator, "--jax.processes", f"{len(each)}"]
        self.logs = [logdir.with_name(f"{logdir.name}-{i}.txt") for i in range(len(each))]
        self.processes = []
        for i, (own, log) in enumerate(zip(each, self.logs, strict=True)):
            words_here = [*task, *hosts, "--jax.process", f"{i}", "--logdir", f"{logdir}", *words]
            with log.open("w") as file:
                command = [sys.executable, "-m", "reverie", "train", *words_here, *own]
                env = {**os.environ, "REVERIE_DEBUG": ""}
                how = {"stdout": file, "stderr": file, "start_new_session": True, "env": env}
                self.processes.append(subprocess.Popen(command, **how))

    def text(self, number):
        lines = self.logs[number].read_text().splitlines()
        return "\n".join(line for line in lines if not line.startswith("[Gloo]"))

    def wait_for(self, pattern, number=0, seconds=500):
        end = time.monotonic() + seconds
        while not re.search(pattern, self.text(number)):
            assert time.monotonic() < end, self.text(number)
            assert self.processes[number].poll() is None, self.text(number)
            time.sleep(0.1)

    def codes(self, seconds=500):
        return [process.wait(seconds) for process in self.processes]

    def close(self):
        self.port.close()
        for process in self.processes:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


@pytest.fixture
def start(tmp_path):
    started = []

    def begin(*words, name="run", **options):
        started.append(Group(tmp_path / name, *words, **options))
        return started[-1]

    yield begin
    for group in started:
        group.close()


def saved(folder):
    return Checkpointer(folder / "checkpoints").restore()


def test_replay_of_a_process_is_still_cut_to_what_fits_where_nobody_has_set_it():
    part = together.share(load(), Hosts(1, 2))
    assert part.replay.size == load().replay.size // 2
    assert unset(part, ["replay.size"])
    part = together.share(load(overrides={"replay.size": 10**6}), Hosts(1, 2))
    assert part.replay.size == 5 * 10**5
    assert not unset(part, ["replay.size"])


class Second(Hosts):
    """The second of three processes, of which the first is on another host."""

    def __init__(self, *first):
        super().__init__(1, 3)
        self.first_gives = list(first)

    def gather(self, value, *args):
        first = self.first_gives.pop(0) if self.first_gives else value
        return [first, value, value]


def test_room_is_divided_among_those_who_share_it():
    # All see one disk, two have one memory.
    assert together.shares(Second("elsewhere")) == {"ram_shares": 2, "disk_shares": 3}
    assert together.shares(Hosts()) == {"ram_shares": 1, "disk_shares": 1}


def test_every_process_looks_for_the_run_where_the_first_one_does(monkeypatch, tmp_path):
    class Looked(Exception):
        pass

    def look(config, folder):
        raise Looked(folder.own)

    first = tmp_path / "first" / "run"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(together, "same", lambda config, hosts: None)
    monkeypatch.setattr(build, "hosts", lambda config: contextlib.nullcontext(Second(str(first))))
    monkeypatch.setattr(setup, "_resumed", look)
    config = load(overrides={"task": "gym_CartPole-v1", "logdir": "run"})
    with contextlib.ExitStack() as stack, pytest.raises(Looked) as caught:
        setup.set_up(config, None, Shutdown(), stack)
    assert caught.value.args == (first / "processes" / "1",)


def test_a_signal_in_one_process_saves_both_which_are_resumed_exactly(start, tmp_path):
    group = start("--run.steps", "100000")
    group.wait_for(r"loss rec")
    os.kill(group.processes[1].pid, signal.SIGTERM)
    assert group.codes() == [143, 143], group.text(0)
    main, other = saved(tmp_path / "run"), saved(tmp_path / "run" / "processes" / "1")
    assert f"stopped by SIGTERM and saved after {main.step:,} environment" in group.text(0)
    # The first batch takes 2 sequences of 8 + 1 steps of each process.
    assert main.step == other.step >= 2 * 2 * 9
    assert main.step % 4 == 0  # Two environments in each process.
    assert main.meta["updates"] == other.meta["updates"] > 0
    assert not other.arrays
    assert "Traceback" not in group.text(0) + group.text(1)
    assert "Each of the 2 processes counts its part of what is free" in group.text(0)

    stop = main.step + 40
    again = start("--run.steps", f"{stop}")
    assert again.codes() == [0, 0], again.text(1)
    half = main.step // 2
    assert f"Resumed at {main.step:,} environment steps" in again.text(0)
    assert f"with {half:,} steps in replay" in again.text(0)
    ended = saved(tmp_path / "run")
    assert ended.step == stop
    due = stop * 4 / (4 * 8)
    # The first batch came after some steps, and no update was made twice.
    assert main.meta["updates"] + 40 * 4 / (4 * 8) == ended.meta["updates"] < due
    steps = [record["step"] for record in read_jsonl(tmp_path / "run" / "metrics.jsonl")]
    assert steps == sorted(steps)


@pytest.mark.slow
def test_the_other_number_of_processes_goes_on(start, tmp_path):
    assert start("--run.steps", "200").codes() == [0, 0]
    group = start("--run.steps", "240", each=[()])
    assert group.codes() == [0], group.text(0)
    assert "had 2 processes so far and goes on with 1" in group.text(0)
    assert "with 100 steps in replay" in group.text(0)
    group = start("--run.steps", "320")
    assert group.codes() == [0, 0], group.text(0) + group.text(1)
    assert "had 1 process so far and goes on with 2" in group.text(0)
    assert saved(tmp_path / "run").step == 320


@pytest.mark.slow
def test_a_killed_process_ends_the_other_one_and_the_last_checkpoint_is_whole(start, tmp_path):
    for victim in (1, 0):
        group = start("--run.steps", "100000", "--run.save_every", "1")
        group.wait_for(r"loss rec[^~]*Saved at")
        os.kill(group.processes[victim].pid, signal.SIGKILL)
        begun = time.monotonic()
        codes = group.codes(100)
        assert time.monotonic() - begun < 60
        assert codes[victim] == -signal.SIGKILL
        assert codes[1 - victim] not in (0, -signal.SIGKILL)
        assert re.search("has ended or hangs|another task died", group.text(1 - victim))
        assert saved(tmp_path / "run").step > 0
    step = saved(tmp_path / "run").step
    again = start("--run.steps", f"{step + 40}")
    assert again.codes() == [0, 0], again.text(0)


@pytest.mark.slow
def test_a_part_that_cannot_be_saved_ends_both_with_the_reason(start, tmp_path):
    group = start("--run.steps", "100000", "--run.save_every", "1")
    group.wait_for(r"loss rec[^~]*Saved at")
    before = saved(tmp_path / "run").step
    # It is in the way of the next save of process 1.
    (tmp_path / "run" / "processes" / "1" / "checkpoints" / ".writing-x").touch()
    assert 0 not in group.codes(60)
    for number in (0, 1):
        assert "NotADirectoryError" in group.text(number)
    assert "Process 1 of the run could not save its part" in group.text(0)
    step = saved(tmp_path / "run").step
    assert step >= before
    assert step in Checkpointer(tmp_path / "run" / "processes" / "1" / "checkpoints").steps()


BREAKING = """
import os, gymnasium, numpy as np

class Breaking(gymnasium.Env):
    observation_space = gymnasium.spaces.Box(-9, 9, (2,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)
    count = 0

    def reset(self, *, seed=None, options=None):
        return np.zeros(2, np.float32), {}

    def step(self, action):
        self.count += 1
        here = open("/proc/self/cmdline").read().replace("\\0", " ")
        if self.count == 100 and os.environ["BREAKS"] in here:
            raise ZeroDivisionError("the wheel came off")
        return np.full(2, self.count % 9, np.float32), 1.0, self.count % 9 == 0, False, {}
"""


@pytest.mark.slow
def test_an_error_in_one_process_saves_both(start, tmp_path, monkeypatch):
    (tmp_path / "breaking_here.py").write_text(BREAKING)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), *sys.path]))
    monkeypatch.setenv("BREAKS", "--jax.process 1")
    words = ["--task", "breaking_here:Breaking", "--run.env_max_restarts", "0"]
    group = start("--run.steps", "100000", "--run.env_backend", "sync", *words)
    assert group.codes() == [2, 2], group.text(0) + group.text(1)
    assert "ZeroDivisionError: the wheel came off" in group.text(1)
    assert "Another process of the run has failed, and the run was saved" in group.text(0)
    assert "the wheel came off" in group.text(0)
    assert saved(tmp_path / "run").step == saved(tmp_path / "run" / "processes" / "1").step > 300


def test_other_options_in_another_process_are_refused(start, tmp_path):
    group = start("--run.steps", "100", each=[(), ("--seed", "3")])
    assert group.codes() == [2, 2]
    for number in (0, 1):
        said = "need the same options: seed is 0 in process 0 and 3 in process 1."
        assert said in group.text(number)
        assert len(group.text(number).splitlines()) == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_what_one_process_refuses_ends_the_other_one(start, tmp_path):
    (tmp_path / "run").mkdir()
    with open(tmp_path / "run" / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        group = start("--run.steps", "100")
        assert group.codes() == [2, 2], group.text(0) + group.text(1)
    assert "Another run is training in" in group.text(0)
    said = "Process 0 of the run has ended, and so does this one: FolderInUseError: Another run is"
    assert said in group.text(1)
    assert len(group.text(1).splitlines()) == 1


def test_a_coordinator_that_nobody_reaches_is_named(start):
    limit = ["--jax.connect_timeout", "2"]
    one = start("--run.steps", "100", *limit, each=[("--jax.process", "1", "--jax.processes", "2")])
    zero = start("--run.steps", "100", *limit, each=[("--jax.processes", "2")], name="zero")
    assert one.codes() == [2]
    assert "Process 1 cannot reach process 0 at jax.coordinator 127.0.0.1:" in one.text(0)
    assert zero.codes() == [2]
    assert "did not find each other at 127.0.0.1:" in zero.text(0)
