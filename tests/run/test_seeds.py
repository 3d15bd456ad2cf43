"""`reverie train --seeds`: one run for each seed."""

import json
import shutil
import signal

import pytest
import yaml

from reverie import cli
from reverie.commands import train as command
from reverie.run.saved.result import Outcome

CARTPOLE = ["train", "--configs", "debug", "--task", "CartPole-v1", "--logger.outputs", "jsonl"]


def test_seeds_run_one_after_the_other_and_finished_ones_are_left(finished, tmp_path, capsys):
    shutil.copytree(finished.logdir, tmp_path / "three" / "seed-0")
    before = sorted(tmp_path.rglob("*"))
    words = [*CARTPOLE, "--logdir", str(tmp_path / "three"), "--run.steps", "24"]
    words += ["--run.final_eval_eps", "0", "--seeds", "0", "7"]
    assert cli.main(words) == 0
    out = capsys.readouterr().out
    assert f"Seed 0, run 1 of 2: {tmp_path}/three/seed-0\nIt is finished already.\nSeed 7, " in out
    assert "Run finished after 24 environment steps" in out
    rows = [line.split()[:2] for line in out.splitlines()[-2:]]
    assert rows == [["seed-0", "finished"], ["seed-7", "finished"]]
    config = yaml.safe_load((tmp_path / "three" / "seed-7" / "config.yaml").read_text())
    assert config["seed"] == 7
    new = {path.relative_to(tmp_path).parts[:2] for path in {*tmp_path.rglob("*")} - {*before}}
    assert new == {("three", "seed-7")}

    assert cli.main(words) == 0
    assert capsys.readouterr().out.count("It is finished already.") == 2
    # One that has not been evaluated is not finished, and one with more steps neither.
    shutil.copytree(tmp_path / "three" / "seed-7", tmp_path / "more")
    for option in (["--run.final_eval_eps", "1"], ["--run.steps", "26"]):
        assert cli.main([*words[:-3], *option, "--seeds=7"]) == 0
        assert "finished already" not in capsys.readouterr().out
    assert json.loads((tmp_path / "three" / "seed-7" / "evaluation.json").read_text())["scores"]


def test_a_signal_ends_all_seeds(tmp_path, monkeypatch):
    def train(config):
        trained.append(config)
        return Outcome(tmp_path, 3, 0, interrupted=signal.SIGINT)

    trained = []
    monkeypatch.setattr(command, "train_one", train)
    words = [*CARTPOLE, "--logdir", str(tmp_path / "{task}-{seed}-{timestamp}"), "--seeds", "2,1"]
    assert cli.main(words) == 130
    (config,) = trained
    assert config.seed == 2
    assert config.logdir.startswith(f"{tmp_path}/gym_CartPole-v1-2-2")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--seeds"], "expected different whole numbers"),
        (["--seeds", "0", "x"], "expected different whole numbers"),
        (["--seeds", "1", "01"], "expected different whole numbers"),
        (["--seeds", "-1"], "expected different whole numbers"),
        (["--seeds", "1", "--seeds", "2"], "stands alone"),
        (["--seed", "1", "--seeds", "2"], "stands alone"),
        (["--seeds", "1", "--script", "eval_only"], "for training"),
        (["--seeds", "1", "--run.stepz", "1"], "run.steps"),
        (["--seeds", "9" * 30], "seed"),
    ],
)
def test_seeds_that_make_no_sense_are_refused_before_anything_runs(words, says, tmp_path, capsys):
    assert cli.main([*CARTPOLE, "--logdir", str(tmp_path / "runs"), *words]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert says in line
    assert not (tmp_path / "runs").exists()


def test_seeds_do_not_lie_in_a_run(copied, capsys):
    assert cli.main([*CARTPOLE, "--logdir", str(copied), "--seeds", "1"]) == 2
    assert "is one run" in capsys.readouterr().err
