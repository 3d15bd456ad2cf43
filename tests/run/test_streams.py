"""Standard streams and the module path of the command: printing environments, closed outputs."""

import json
import os
import subprocess
import sys

import pytest

import reverie
from reverie import cli
from reverie.disk import DiskFullError

MODULE = """
import gymnasium
import numpy as np


class Loud(gymnasium.Env):
    observation_space = gymnasium.spaces.Box(-1, 1, (4,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        print("a new game")
        self.time = 0
        return np.zeros(4, np.float32), {}

    def step(self, action):
        self.time += 1
        return np.zeros(4, np.float32), 1.0, self.time == 5, False, {}


gymnasium.register("Loud-v0", entry_point=Loud)
"""
COMMAND = "import sys; from reverie.cli import main; sys.exit(main())"
RANDOM = ["--configs", "debug", "--random_agent", "true", "--run.steps", "20"]


@pytest.fixture
def loud(tmp_path):
    """A folder with a module that registers an environment that prints."""
    (tmp_path / "loud_games.py").write_text(MODULE)
    return tmp_path


def reverie_command(*words, folder, **options):
    """Runs the command as its script does, without the current folder on the module path."""
    start = [sys.executable, "-P", "-c", COMMAND, *words]
    return subprocess.run(start, cwd=folder, stdin=subprocess.DEVNULL, timeout=300, **options)


def test_what_environments_print_stays_out_of_the_json_document(loud, copied):
    # The agent of a run on CartPole, whose spaces these environments share.
    begin = ["eval", "--logdir", str(copied), "--task", "gym_loud_games:Loud-v0"]
    for backend in ("sync", "async"):
        words = [*begin, "--episodes", "2", "--json", "--jax.fast_compile", "true"]
        words += ["--run.env_backend", backend]
        done = reverie_command(*words, folder=loud, capture_output=True)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["scores"] == [5.0, 5.0]
        assert b"a new game" in done.stderr


ALL = "<&- >&- 2>&-"
STREAMS = [(x, y) for x in (">&-", "2>&-", ALL) for y in ("sync", "async")]
# Each output with one of the ways to have environments, and all of them where processes start.
QUICK = [(">&-", "sync"), ("2>&-", "sync"), (ALL, "async")]
CASES = [case if case in QUICK else pytest.param(*case, marks=pytest.mark.slow) for case in STREAMS]


@pytest.mark.parametrize(("closed", "backend"), CASES)
def test_training_runs_without_standard_streams(loud, closed, backend):
    words = ["train", *RANDOM, "--task", "gym_loud_games:Loud-v0", "--logdir", "run"]
    words += ["--run.env_backend", backend]
    # A shell closes them: this process, in which JAX has threads, must not fork by itself.
    shell = ["sh", "-c", f'exec "$@" {closed}', "sh", sys.executable, "-P", "-c", COMMAND, *words]
    done = subprocess.run(shell, cwd=loud, stdin=subprocess.DEVNULL, timeout=300)
    assert done.returncode == 0
    assert (loud / "run" / "scores.jsonl").exists()
    # Nobody has printed into a file that took the number of a stream.
    for path in (loud / "run").rglob("*"):
        assert not path.is_file() or b"a new game" not in path.read_bytes()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a file that is always full")
def test_an_output_that_cannot_be_written_is_switched_off(tmp_path):
    words = ["train", *RANDOM, "--task", "CartPole-v1", "--logdir", "run"]
    with open("/dev/full", "w") as full:
        done = reverie_command(*words, folder=tmp_path, stdout=full, stderr=subprocess.PIPE)
    assert done.returncode == 0, done.stderr
    (line,) = done.stderr.splitlines()
    assert b"TerminalSink failed and is switched off" in line
    assert (tmp_path / "run" / "scores.jsonl").exists()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a file that is always full")
def test_a_command_says_that_its_output_cannot_be_written(tmp_path):
    with open("/dev/full", "w") as full:
        done = reverie_command("envs", folder=tmp_path, stdout=full, stderr=subprocess.PIPE)
    assert done.returncode == 2
    assert done.stderr == b"reverie: The output could not be written: No space left on device.\n"


def test_letters_that_the_output_lacks_are_written_as_numbers(tmp_path):
    (tmp_path / "ü").mkdir()
    env = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = reverie_command("runs", "ü", folder=tmp_path, env=env, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == b"There are no runs in \\xfc.\n"


def test_a_full_disk_is_explained_without_a_traceback(tmp_path, monkeypatch, capfd):
    def fail(words):
        raise DiskFullError.of(tmp_path)

    monkeypatch.setitem(cli._COMMANDS, "envs", (fail, ""))
    assert cli.main(["envs"]) == 2
    assert capfd.readouterr().err.startswith(f"reverie: The disk is full: {tmp_path} has ")


def test_python_without_a_standard_output_trains(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    options = {"random_agent": True, "run.steps": 20}
    outcome = reverie.train("CartPole-v1", configs="debug", logdir=tmp_path / "run", **options)
    assert outcome.steps == 20


def test_what_can_only_write_may_stand_in_for_the_standard_output(tmp_path, monkeypatch):
    class Both:
        """Copies what is printed into a file, as many scripts do."""

        def __init__(self, *files):
            self.files = files

        def write(self, text):
            for file in self.files:
                file.write(text)

        def flush(self):
            for file in self.files:
                file.flush()

    with open(tmp_path / "log", "w") as log:
        monkeypatch.setattr(sys, "stdout", Both(sys.stdout, log))
        options = {"random_agent": True, "run.steps": 20}
        reverie.train("CartPole-v1", configs="debug", logdir=tmp_path / "run", **options)
    assert "step 20/20 (100%)" in (tmp_path / "log").read_text()


def test_modules_in_the_current_folder_stand_behind_all_others(loud, monkeypatch):
    monkeypatch.chdir(loud)
    monkeypatch.setattr(sys, "path", [*sys.path])
    assert cli.main(["--version"]) == 0
    assert sys.path[-1] == str(loud)
    assert cli.main(["--version"]) == 0
    assert sys.path.count(str(loud)) == 1


def test_options_of_environments_can_be_given_beside_the_environment(tmp_path):
    more = {"random_agent": True, "run": {"steps": 20}, "logdir": tmp_path / "run"}
    kwargs = {"gym": {"kwargs": {"max_episode_steps": 7}}}
    outcome = reverie.train("CartPole-v1", configs="debug", env=kwargs, **more)
    lines = (outcome.logdir / "scores.jsonl").read_text().splitlines()
    assert max(json.loads(line)["episode/length"] for line in lines) <= 7
