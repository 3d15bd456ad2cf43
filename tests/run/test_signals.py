"""Signals in each phase of a run: a save, an exit code, no time lost and nothing else."""

import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

from reverie.learner.checkpoints.checkpoint import Checkpointer
from reverie.run.parts.shutdown import AGAIN_SECONDS

PHASES = (
    "imports", "building", "compiling", "collecting", "updating", "evaluating", "reporting",
    "saving", "final",
)  # fmt: skip
SIGNALS = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
SECONDS = 30.0
"""Less than the child stays in a phase if nothing ends it."""

IDLE = ["--run.train_ratio", "0"]
"""An agent whose update need not be compiled."""
CHILD = pathlib.Path(__file__).with_name("in_phase.py")
QUICK = [
    # SIGINT while a run collects: test_command.py.
    (phase, signal.SIGHUP if phase == "collecting" else signal.SIGTERM)
    for phase in PHASES
    if phase not in ("reporting", "saving")
]
ALL = [(phase, number) for phase in PHASES for number in SIGNALS]


@pytest.fixture
def start(tmp_path, cache):
    """Starts a run and returns it when it has reached a phase."""
    started = []

    def run(phase):
        mark = tmp_path / "reached"
        words = [
            "train", "--configs", "debug", "--task", "gym_Scripted-v0", "--logdir",
            str(tmp_path / "run"), "--run.envs", "1", "--run.save_every", "0",
            "--run.report_every", "0", "--run.steps", "1e6",
            "--jax.cache_dir", "off" if phase == "compiling" else cache,
        ]  # fmt: skip
        words += {
            "collecting": ["--random_agent", "true"],
            "reporting": ["--run.report_every", "0.1"],
            "evaluating": ["--script", "train_eval", "--run.eval_every", "0.1", *IDLE],
            "saving": ["--run.save_every", "0.5"],
            "stuck": ["--run.save_every", "0.5", *IDLE],
            "final": ["--run.steps", "40", "--run.final_eval_eps", "2"],
        }.get(phase, [])
        # A group of its own, and signals as a shell gives them to a command.
        process = subprocess.Popen(
            [sys.executable, str(CHILD), phase, str(mark), *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        started.append(process)
        end = time.monotonic() + 200
        while not mark.exists():
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < end, "The phase was not reached."
            time.sleep(0.005)
        time.sleep(0.1)
        return process

    yield run
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()


@pytest.fixture
def ended(start, tmp_path):
    """Sends a signal in a phase; returns seconds, exit code, saved steps, and the output."""

    def end(phase, number):
        process = start(phase)
        begun = time.monotonic()
        process.send_signal(number)
        output = "".join(process.communicate(timeout=100))
        seconds = time.monotonic() - begun
        saved = Checkpointer(tmp_path / "run" / "checkpoints").restore()
        return seconds, process.returncode, saved.step if saved else 0, output

    return end


def check(phase, number, seconds, code, saved, output):
    assert code == 128 + number, output
    assert "Traceback" not in output
    if phase == "imports":
        assert output in (f"Stopped by {number.name}.\n", "Interrupted.\n")
        assert saved == 0
    elif phase == "building":
        assert f"stopped by {number.name} before its first step" in output
        assert saved == 0
    else:
        assert f"stopped by {number.name} and saved after {saved:,} environment steps" in output
        # One reset of a temporary environment and 38 steps came before the one under way.
        assert saved >= {"compiling": 16, "collecting": 38, "updating": 16, "final": 40}.get(
            phase, 1
        )
    assert seconds < SECONDS, output


@pytest.mark.parametrize(("phase", "number"), QUICK)
def test_a_signal_in_each_phase_saves_and_ends_the_run(phase, number, ended):
    check(phase, number, *ended(phase, number))


@pytest.mark.slow
@pytest.mark.parametrize(("phase", "number"), ALL)
def test_each_signal_in_each_phase(phase, number, ended, capsys):
    seconds, code, saved, output = ended(phase, number)
    with capsys.disabled():
        print(
            f"\n{phase:12} {number.name:8} {seconds:5.1f} s, exit code {code}, {saved} steps saved"
        )
    check(phase, number, seconds, code, saved, output)


def test_a_second_ctrl_c_ends_the_run_although_a_save_is_stuck(start, tmp_path):
    process = start("stuck")
    before = Checkpointer(tmp_path / "run" / "checkpoints").steps()
    process.send_signal(signal.SIGINT)
    # Two that arrive before it has looked are one.
    while "SIGINT: saving and stopping." not in process.stderr.readline():
        assert process.poll() is None
    time.sleep(2 * AGAIN_SECONDS)
    assert process.poll() is None
    begun = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert time.monotonic() - begun < SECONDS
    assert process.returncode == 130
    assert err.endswith("Stopped without a save: what was saved before is still there.\n")
    assert len(before) == 1
    saved = Checkpointer(tmp_path / "run" / "checkpoints").restore()
    assert saved is not None
    assert saved.step == before[0]
