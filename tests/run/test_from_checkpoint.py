"""Runs that start from the parameters of another one, and what is loaded of them later."""

import json
import shutil

import numpy as np
import pytest

import reverie
from reverie.config import load_run
from reverie.learner import Checkpointer, CheckpointError
from reverie.run import launch
from reverie.run.eval_only import eval_run


def arrays(logdir):
    return Checkpointer(logdir / "checkpoints").restore().arrays


@pytest.fixture(scope="module")
def tuned(finished, make_config, tmp_path_factory):
    """A run that started from the finished one and ended at another step."""
    logdir = tmp_path_factory.mktemp("tuned") / "run"
    words = ["--run.steps", "40", "--seed", "9", "--run.report_every", "0"]
    return launch(make_config(logdir, *words, "--run.from_checkpoint", str(finished.logdir)))


def test_the_agent_of_a_run_is_its_own_whatever_it_started_from(finished, tuned):
    assert reverie.load(tuned.logdir).step == tuned.steps != finished.steps
    assert eval_run(str(tuned.logdir), ["--run.eval_eps", "1"]).steps == tuned.steps
    again = ["--logdir", str(tuned.logdir), "--script", "eval_only", "--run.eval_eps", "1"]
    assert launch(load_run(again)).steps == tuned.steps


def test_a_run_without_a_checkpoint_has_no_agent(tuned, tmp_path):
    ignore = shutil.ignore_patterns("checkpoints")
    copy = shutil.copytree(tuned.logdir, tmp_path / "run", ignore=ignore)
    with pytest.raises(CheckpointError, match="no valid checkpoint"):
        reverie.load(copy)
    with pytest.raises(CheckpointError, match="no valid checkpoint"):
        eval_run(str(copy))


def test_parameters_of_another_run_are_the_start(finished, make_config, tmp_path):
    words = ["--run.steps", "2", "--run.from_checkpoint", str(finished.logdir), "--seed", "9"]
    launch(make_config(tmp_path / "all", *words))
    launch(make_config(tmp_path / "world", *words, "--run.from_checkpoint_regex", "params/world/"))
    source, every, world = (
        arrays(x) for x in (finished.logdir, tmp_path / "all", tmp_path / "world")
    )
    policy = next(name for name in source if "/pol/" in name and name.endswith("kernel"))
    dynamics = next(name for name in source if "world/dyn" in name and name.endswith("kernel"))
    np.testing.assert_array_equal(every[policy], source[policy])
    np.testing.assert_array_equal(every[dynamics], source[dynamics])
    np.testing.assert_array_equal(world[dynamics], source[dynamics])
    assert not np.array_equal(world[policy], source[policy])


def test_transfer_between_sizes_names_the_shapes(finished, make_config, tmp_path):
    words = ["--run.from_checkpoint", str(finished.logdir), "--agent.dyn.deter", "64"]
    with pytest.raises(CheckpointError, match=r"params/.*the agent's is .*from_checkpoint_regex"):
        launch(make_config(tmp_path, *words))


def test_eval_only_plays_the_saved_agent(finished, make_config, tmp_path):
    words = ["--script", "eval_only", "--run.from_checkpoint", str(finished.logdir)]
    outcome = launch(make_config(tmp_path, *words, "--run.eval_eps", "3"))
    assert len(outcome.evaluation.scores) == 3
    assert outcome.steps == finished.steps
    assert json.loads((tmp_path / "evaluation.json").read_text())["episodes"] == 3
