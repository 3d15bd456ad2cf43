"""The command with script parallel: its supervisor, its learner, and what is left of them."""

import contextlib
import signal

import psutil
import pytest
from parallel_command import Command


@pytest.fixture
def command(tmp_path, cache):
    made = Command(tmp_path, cache, "--ray.actors", "1")
    yield made
    made.close()


def test_a_learner_that_is_killed_resumes_and_no_step_is_lost_or_counted_twice(command):
    command.wait(command.saved.steps)
    learner = command.learner()
    learner.suspend()
    # From now on it saves no more, and nobody has noticed.
    command.wait(lambda: learner.status() == psutil.STATUS_STOPPED)
    before = command.saved.steps()[-1]
    learner.kill()
    command.wait(lambda: command.saved.steps()[-1] > before + 100)
    code, output, alive = command.end()
    assert code == 128 + signal.SIGTERM, output
    assert alive == []
    assert "The learner died with SIGKILL. The learner is restarted, number 1 of" in output
    assert f"Resumed at {before:,} environment steps" in output
    assert output.count("SIGTERM: saving and stopping.") == 1
    assert "Traceback" not in output
    saved = command.saved.restore()
    # One actor all the time, of whose two environments every step is there.
    assert len(command.check_steps()[0]) == 2
    assert f"stopped by SIGTERM and saved after {saved.step:,} environment steps" in output


@pytest.mark.slow
@pytest.mark.parametrize("shards", [0, 2])
def test_the_learner_of_a_supervisor_that_is_killed_saves_and_nothing_is_left(
    tmp_path, cache, shards
):
    with contextlib.closing(
        Command(tmp_path, cache, "--ray.replay_shards", str(shards))
    ) as command:
        command.wait(lambda: command.counts()["updates"] > 50)
        before = command.counts()["steps"]
        command.process.kill()
        _, alive = psutil.wait_procs(command.children, timeout=120)
        assert alive == []
        assert "stopped by SIGTERM and saved" in command.output
        assert command.saved.steps()[-1] >= before
        command.check_steps()


@pytest.mark.slow
def test_ctrl_c_saves_once_and_ends_everything(command):
    command.wait(lambda: len(command.saved.steps()) > 1)
    code, output, alive = command.end(signal.SIGINT)
    assert code == 130, output
    assert alive == []
    assert output.count("SIGINT: saving and stopping.") == 1
    assert "stopped by SIGINT and saved" in output
