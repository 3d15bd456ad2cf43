"""The `reverie` command in processes of its own: training, signals, kills, errors."""

import errno
import json
import signal
import subprocess
import sys
import time

import gymnasium
import numpy as np
import pytest
from PIL import Image

from reverie import cli
from reverie.envs.vector.vector import VectorEnv
from reverie.learner.checkpoints.checkpoint import Checkpointer


@pytest.fixture
def train_words(cache):
    return [
        "train", "--configs", "debug", "--task", "gym_CartPole-v1",
        "--jax.cache_dir", cache, "--logger.outputs", "terminal", "jsonl",
    ]  # fmt: skip


def wait_for(process, condition, seconds=400):
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < end
        time.sleep(0.05)


def test_killed_run_goes_on_from_the_saved_step(command, train_words, tmp_path, capfd):
    words = [*train_words, "--logdir", str(tmp_path), "--run.save_every", "0.3"]
    saved = Checkpointer(tmp_path / "checkpoints")
    process = command(*words, "--run.steps", "1e7")
    wait_for(process, lambda: saved.steps() and saved.steps()[-1] > 100)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    step = saved.steps()[-1]
    assert cli.main([*words, "--run.steps", str(step + 50)]) == 0
    out = capfd.readouterr().out
    assert f"Resumed at {step:,} environment steps" in out
    assert f"Run finished after {(step + 51) // 2 * 2:,} environment steps" in out


SIGNALS = [(signal.SIGINT, 130), pytest.param(signal.SIGTERM, 143, marks=pytest.mark.slow)]


@pytest.mark.parametrize(("number", "code"), SIGNALS)
def test_signal_saves_once_and_exits(command, train_words, tmp_path, number, code):
    words = [*train_words, "--logdir", str(tmp_path), "--run.save_every", "0"]
    process = command(*words, "--run.steps", "1e7", "--run.final_eval_eps", "5")
    scores = tmp_path / "scores.jsonl"
    wait_for(process, lambda: scores.exists() and scores.stat().st_size > 0)
    process.send_signal(number)
    out, err = process.communicate(timeout=400)
    assert process.returncode == code, err
    assert f"stopped by {number.name} and saved" in out
    (step,) = Checkpointer(tmp_path / "checkpoints").steps()
    assert f"{step:,} environment steps" in out
    assert not (tmp_path / "evaluation.json").exists()


def test_eval_prints_json_and_plot_draws(copied, capfd, tmp_path):
    assert cli.main(["eval", "--logdir", str(copied), "--episodes=2", "--json"]) == 0
    assert len(json.loads(capfd.readouterr().out)["scores"]) == 2
    picture = tmp_path / "curve.png"
    words = ["plot", "--logdir", str(copied), "--output", str(picture)]
    assert cli.main(words) == 0
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert str(picture) in capfd.readouterr().out


def test_what_the_system_refuses_is_one_line(copied, capsys, monkeypatch):
    # Not even root makes files there.
    assert cli.main(["plot", str(copied), "--output", "/sys/curve.png"]) == 2
    error, hint = capsys.readouterr().err.splitlines()
    assert error.startswith(("reverie: PermissionError: ", "reverie: OSError: [Errno 30] "))
    assert error.endswith(": '/sys/.curve.partial.png'")
    assert hint == "REVERIE_DEBUG=1 shows the traceback."
    monkeypatch.setenv("REVERIE_DEBUG", "1")
    with pytest.raises(OSError, match=r"curve\.partial\.png"):
        cli.main(["plot", str(copied), "--output", "/sys/curve.png"])


def test_video_films_and_leaves_the_evaluation_alone(copied, capsys, tmp_path):
    pytest.importorskip("pygame")
    before = {p: p.read_bytes() for p in copied.rglob("*") if p.is_file()}
    words = ["video", str(copied), "--episodes", "2", "--output", str(tmp_path / "film.gif")]
    assert cli.main(words) == 0
    assert str(tmp_path / "film.gif") in capsys.readouterr().out
    with Image.open(tmp_path / "film.gif") as film:
        assert film.size == (600, 534)
    assert {p: p.read_bytes() for p in copied.rglob("*") if p.is_file()} == before
    (tmp_path / "folder.gif").mkdir()
    assert cli.main(["video", str(copied), "--output", str(tmp_path / "folder.gif")]) == 1


def test_a_film_of_another_kind_is_refused(copied, capsys, tmp_path):
    assert cli.main(["video", str(copied), "--output", str(tmp_path / "film.avi")]) == 2
    assert "A film is written as .mp4 or .gif, and not as film.avi." in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [copied]


def test_a_disk_without_room_for_a_film_is_told(copied, monkeypatch, capsys, tmp_path):
    pytest.importorskip("pygame")

    def save(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", save)
    words = ["video", str(copied), "--episodes", "1", "--output", str(tmp_path / "film.gif")]
    assert cli.main(words) == 1
    assert f"There is no film: the disk of {tmp_path} is full.\n" in capsys.readouterr().out


def test_an_mp4_without_its_package_names_the_extra(copied, monkeypatch, capsys, tmp_path):
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    assert cli.main(["video", str(copied), "--output", str(tmp_path / "film.mp4")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("reverie: mp4 files need the package imageio-ffmpeg: pip install -c")
    assert list(tmp_path.iterdir()) == [copied]


def test_filming_without_the_drawing_package_names_the_extra(copied, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "pygame", None)
    (copied / "evaluation.json").unlink()
    assert cli.main(["eval", "--logdir", str(copied), "--episodes", "1", "--video"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("reverie: CartPole-v1 cannot be filmed")
    assert "pip install -c constraints.txt -e '.[video]'" in line
    assert not (copied / "evaluation.json").exists()


def test_the_logdir_alone_goes_on_with_the_run(copied, capsys):
    words = ["train", "--logdir", str(copied), "--run.steps", "126", "--run.final_eval_eps", "0"]
    words += ["--jax.fast_compile", "true"]
    assert cli.main(words) == 0
    assert "Run finished after 126 environment steps" in capsys.readouterr().out


def test_eval_on_a_task_with_other_spaces_names_them(copied, capsys):
    assert cli.main(["eval", str(copied), "--task", "Acrobot-v1"]) == 2
    err = capsys.readouterr().err
    assert "cannot be evaluated with this environment, whose spaces are others:" in err
    assert "- action 'action': saved Discrete(2), now Discrete(3)" in err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["fly"],
            "Unknown command 'fly'; the commands are train, eval, video, plan, plot, doctor",
        ),
        (["--learner"], "--learner is for script parallel, which starts its learner so"),
        (["--learner", "0"], "--learner is for script parallel"),
        (["--learner", "123456"], "--learner is for script parallel"),
        (["trian"], "Did you mean train?"),
        (["train", "--configs", "debug", "size1m"], "No --task given: say what to train on"),
        (["train", "--logdir", "/nowhere"], "given, and /nowhere holds no run to go on with: say"),
        (["eval"], "reverie eval needs the folder of a run: reverie eval FOLDER"),
        (["eval", "a", "b"], "reverie eval takes one folder; b is one too many"),
        (["eval", "a", "--episodes", "0"], "--episodes is 0; expected a whole number >= 1"),
        (["envs", "check", "a", "b"], "reverie envs check takes one task; b is one too many"),
        (["eval", "--logdir"], "--logdir needs a value"),
        (["plot", "--logdir", "/nowhere"], "There is no run in /nowhere"),
        (["train", "--task", "dummy_disc", "--logdir", "x" * 300], "more than 255 bytes"),
        (["plot", "x" * 300], "xxx: it has no config.yaml"),
        (["eval", "x" * 300], "xxx: it has no config.yaml"),
        (["plot", "--logdir", "/nowhere", "--fast"], "does not know --fast"),
        (["train", "--run.stepz", "3"], "run.steps"),
        (["train", "--configs", "debug", "--task", "atary_pong"], "starts with no known suite"),
    ],
)
def test_errors_are_one_line_with_exit_code_2(words, message, capsys):
    assert cli.main(words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("reverie: ")
    assert message in err
    assert "Traceback" not in err


def test_blocks_beside_the_folder_of_a_run_are_told(finished, capsys):
    assert cli.main(["train", "--logdir", str(finished.logdir), "--configs", "small"]) == 2
    assert f"{finished.logdir} goes on only without --configs" in capsys.readouterr().err


def test_debug_variable_shows_the_traceback(monkeypatch):
    monkeypatch.setenv("REVERIE_DEBUG", "1")
    with pytest.raises(cli.UsageError):
        cli.main(["fly"])


@pytest.mark.parametrize("value", [np.nan, "no number"])
def test_error_in_a_worker_shows_one_traceback_of_the_environment_and_none_of_ours(
    value, monkeypatch, capfd
):
    class Broken(gymnasium.Env):
        observation_space = gymnasium.spaces.Box(-1, 1, (1,), np.float32)
        action_space = gymnasium.spaces.Discrete(2)

        def reset(self, *, seed=None, options=None):
            return np.full(1, float(value), np.float32), {}

    def play(words):
        with VectorEnv([Broken], backend="async") as vector:
            vector.reset()

    monkeypatch.setitem(cli._COMMANDS, "train", (play, ""))
    assert cli.main(["train"]) == 2
    text = capfd.readouterr().err
    assert text.startswith("reverie: Environment 0 raised ")
    assert text.count("Traceback") == (1 if isinstance(value, str) else 0)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ([], "Usage: reverie COMMAND"),
        (["--help"], "reverie train --configs quickstart"),
        (["train", "--help"], "--logdir FOLDER"),
        (["eval", "-h"], "--video"),
        (["--version"], "reverie 0."),
        (["config", "--configs", "quickstart"], "gym_CartPole-v1"),
    ],
)
def test_help_and_config_go_to_the_output(words, text, capsys):
    assert cli.main(words) == 0
    assert text in capsys.readouterr().out


def test_light_commands_import_neither_jax_nor_gymnasium():
    script = (
        "import sys, reverie\n"
        "from reverie.cli import main\n"
        "assert main(['config', '--configs', 'debug']) == 0\n"
        "assert main(['--help']) == 0\n"
        "heavy = {'jax', 'gymnasium', 'matplotlib'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_closed_output_is_no_error():
    command = f"{sys.executable} -m reverie config | head -1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True)
    assert done.returncode == 0
    assert done.stderr == ""
