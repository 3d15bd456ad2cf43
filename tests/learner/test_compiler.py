"""Programs that are compiled in a process of their own."""

import concurrent.futures
import dataclasses
import json
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time

import jax
import numpy as np
import pytest

from reverie.learner import Learner, compiler, compiler_process

SCRIPT = pathlib.Path(__file__).with_name("compiled_apart.py")


def start(folder: pathlib.Path) -> subprocess.Popen[str]:
    command = [sys.executable, str(SCRIPT), str(folder / "cache"), str(folder / "facts.json")]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_an_update_is_compiled_apart_once_and_then_loaded_without_tracing(tmp_path):
    facts = []
    for _ in range(2):
        process = start(tmp_path)
        process.communicate(timeout=300)
        assert process.returncode == 0
        facts.append(json.loads((tmp_path / "facts.json").read_text()))
    first, second = facts
    assert len(first["started"]) == 1
    assert second["started"] == first["traced"] == second["traced"] == []
    assert first["metrics"] == second["metrics"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_the_compiler_ends_with_the_process_that_needs_it(tmp_path, number):
    with start(tmp_path) as process:
        assert process.stdout
        pid = int(process.stdout.readline())
        process.send_signal(number)
    deadline = time.monotonic() + 20
    while alive(pid):
        assert time.monotonic() < deadline, f"{pid} still compiles"
        time.sleep(0.05)


def alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and was not waited for does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    status = pathlib.Path(f"/proc/{pid}/stat")
    return not status.exists() or status.read_text().rpartition(")")[2].split()[0] != "Z"


@pytest.fixture
def with_cache(placement, tmp_path):
    return dataclasses.replace(placement, cache=tmp_path)


def test_an_agent_that_cannot_be_pickled_is_compiled_here(agent, with_cache, batch, monkeypatch):
    agent.lock = threading.Lock()
    monkeypatch.setattr(subprocess, "Popen", None)
    check_trains(Learner(agent, placement=with_cache), batch)


def test_a_compiler_that_fails_is_replaced_by_this_process(agent, with_cache, batch, monkeypatch):
    monkeypatch.setattr(compiler_process, "_BOOT", "raise SystemExit(3)")
    check_trains(Learner(agent, placement=with_cache), batch)


def check_trains(learner, batch):
    learner.prepare("train", batch)
    learner.train(batch)
    learner.synchronize()
    (metrics,) = learner.pop_metrics()
    assert np.isfinite(metrics["loss/rec"])


def test_code_that_was_replaced_in_this_process_alone_counts(agent, with_cache, batch, monkeypatch):
    def train(self, *args):
        *results, metrics = original(self, *args)
        return *results, {**metrics, "loss/rec": metrics["loss/rec"] * 0 + 99}

    original = type(agent).train
    monkeypatch.setattr(type(agent), "train", train)
    learner = Learner(agent, placement=with_cache)
    learner.prepare("train", batch)
    learner.train(batch)
    learner.synchronize()
    assert learner.pop_metrics()[0]["loss/rec"] == 99


def test_all_programs_are_kept_and_compute_the_same(agent, with_cache, batch, obs, monkeypatch):
    results = []
    for _ in range(2):
        learner = Learner(agent, placement=with_cache, seed=3)
        for mode in ("train", "eval"):
            results.append(learner.policy(learner.init_policy(2), obs, mode)[1:])
        learner.train(batch)
        learner.synchronize()
        results.extend([learner.pop_metrics(), learner.report(batch), learner.arrays()])
        monkeypatch.setattr(jax.stages.Lowered, "compile", None)  # The second time it is there.
    first, second = results[:5], results[5:]
    jax.tree.map(np.testing.assert_array_equal, first, second)


def test_a_folder_that_cannot_be_written_is_no_reason_to_compile_twice(
    agent, with_cache, batch, monkeypatch
):
    monkeypatch.setattr(os, "access", lambda *_: False)
    monkeypatch.setattr(subprocess, "Popen", None)
    check_trains(Learner(agent, placement=with_cache), batch)


def test_closing_gives_up_what_is_compiled(agent, with_cache, batch, monkeypatch):
    monkeypatch.setattr(compiler_process, "_BOOT", "import time; time.sleep(90)")
    # As for an agent of Reverie alone, which this process does not trace.
    monkeypatch.setattr(compiler, "fingerprint", lambda _: "0" * 32)
    learner = Learner(agent, placement=with_cache)
    learner.snapshot()  # Its programs are traced here.
    monkeypatch.setattr(learner._programs, "lower", None)
    learner.prepare("train", batch)
    before = time.monotonic()
    learner.close()
    with pytest.raises(concurrent.futures.CancelledError):
        learner.train(batch)
    assert time.monotonic() - before < 60


@pytest.fixture
def submitted(agent, placement, monkeypatch):
    """A learner, and the kinds of programs that it has asked to compile."""
    learner, kinds = Learner(agent, placement=placement), []
    submit = learner._compiler.submit

    def record(kind, batch, apart=True):
        kinds.append((kind, apart))
        return submit(kind, batch, apart)

    monkeypatch.setattr(learner._compiler, "submit", record)
    return learner, kinds


def test_what_is_for_later_waits_for_the_first_update_also_of_a_resumed_run(submitted, batch):
    learner, kinds = submitted
    learner.load_arrays({}, {"updates": 5})
    learner.prepare("train", batch)
    learner.prepare("report", batch, later=True)
    learner.train(batch)
    assert kinds == [("train", True)]
    learner.train(batch)
    assert kinds == [("train", True), ("report", True)]
    learner.report(batch)
    assert len(kinds) == 2


def test_a_report_that_comes_early_uses_what_was_prepared_for_later(submitted, batch):
    learner, kinds = submitted
    learner.prepare("report", batch, later=True)
    learner.report(batch)
    learner.train(batch)
    learner.train(batch)
    assert kinds == [("report", True), ("train", False)]


def test_a_compiler_that_ends_before_it_has_read_is_replaced(agent, with_cache, batch, monkeypatch):
    class Killed(compiler_process.CompilerProcess):
        def __init__(self):
            super().__init__()
            self._process.kill()
            self._process.wait()

    monkeypatch.setattr(compiler, "CompilerProcess", Killed)
    check_trains(Learner(agent, placement=with_cache), batch)
