"""Runs that start from the parameters of another one, and what is loaded of them later."""

import json
import pathlib
import re
import shutil

import numpy as np
import pytest

import reverie
from reverie.config.load import load, load_run
from reverie.learner.checkpoints import checkpoint
from reverie.learner.checkpoints.checkpoint import Checkpointer, CheckpointError
from reverie.run.eval_only import eval_run
from reverie.run.scripts import launch
from reverie.track.sinks.jsonl import read_jsonl

STATE = "states/actor_critic"


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


def test_a_run_that_goes_on_says_that_it_takes_no_parameters(finished, tuned, make_config):
    words = ["--run.steps", "40", "--seed", "9", "--run.report_every", "0"]
    other = str(finished.logdir / "checkpoints")
    launch(make_config(tuned.logdir, *words, "--run.from_checkpoint", other))
    notes = [record["note"] for record in read_jsonl(tuned.logdir / "notes.jsonl")]
    assert any("run.from_checkpoint has no effect" in note for note in notes)


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
    launch(
        make_config(tmp_path / "world", *words, "--run.from_checkpoint_regex", "params/(enc|dyn)/")
    )
    source, every, world = (
        arrays(x) for x in (finished.logdir, tmp_path / "all", tmp_path / "world")
    )
    policy = next(name for name in source if "/pol/" in name and name.endswith("kernel"))
    dynamics = next(name for name in source if "params/dyn" in name and name.endswith("kernel"))
    np.testing.assert_array_equal(every[policy], source[policy])
    np.testing.assert_array_equal(every[dynamics], source[dynamics])
    np.testing.assert_array_equal(world[dynamics], source[dynamics])
    assert not np.array_equal(world[policy], source[policy])


def test_transfer_between_sizes_names_the_shapes(finished, make_config, tmp_path):
    words = ["--run.from_checkpoint", str(finished.logdir), "--agent.dyn.deter", "64"]
    with pytest.raises(CheckpointError) as caught:
        launch(make_config(tmp_path / "new", *words))
    message = str(caught.value)
    kernel = "params/dyn/core/deter_in/linear/kernel"
    assert f"{kernel} is (32, 16) there, (64, 16) here" in message
    assert "agent.dyn.deter: 32 there, 64 here" in message
    assert f"reverie config --from {finished.logdir}" in message
    assert "run.from_checkpoint_regex" in message
    assert not (tmp_path / "new").exists()


def test_eval_only_plays_the_saved_agent(finished, make_config, tmp_path):
    words = ["--script", "eval_only", "--run.from_checkpoint", str(finished.logdir)]
    outcome = launch(make_config(tmp_path, *words, "--run.eval_eps", "3"))
    assert len(outcome.evaluation.scores) == 3
    assert outcome.steps == finished.steps
    assert json.loads((tmp_path / "evaluation.json").read_text())["episodes"] == 3


def test_the_optimizer_begins_anew_and_the_normalizers_come_with_the_value(
    finished, make_config, tmp_path
):
    source = arrays(finished.logdir)
    assert source["opt/updates"] > 0 < source[f"{STATE}/norms/ret/weight"]
    words = ["--run.steps", "2", "--run.from_checkpoint"]
    launch(make_config(tmp_path / "all", *words, str(finished.logdir)))
    some = ["--run.from_checkpoint_regex", "params/(enc|dyn|heads/(?!val))"]
    launch(make_config(tmp_path / "some", *words, str(finished.logdir / "checkpoints"), *some))
    every, part = arrays(tmp_path / "all"), arrays(tmp_path / "some")
    for name, value in every.items():
        if name.startswith("opt/"):
            assert not value.any(), name
        else:
            np.testing.assert_array_equal(value, source[name], name)
    assert part[f"{STATE}/norms/ret/weight"] == part["opt/updates"] == 0
    slow = f"{STATE}/slow/mlp/layers/0/linear/kernel"
    np.testing.assert_array_equal(
        part[slow], part[slow.replace(f"{STATE}/slow/", "params/heads/val/")]
    )


def test_what_is_taken_and_what_is_not_is_told(finished, make_config, tmp_path, capfd):
    words = ["--run.steps", "2", "--logger.outputs", "terminal", "--run.from_checkpoint"]
    newest = sorted((finished.logdir / "checkpoints").iterdir())[-1]
    regex = ["--run.from_checkpoint_regex", "params/(enc|dyn|heads/pol)/"]
    launch(make_config(tmp_path, *words, str(newest), *regex))
    told = capfd.readouterr().out
    assert newest.name in told
    assert re.search(r"Loaded \d+ parameters \([\d,]+ numbers\): dyn, enc, heads/pol\.", told)
    for line in ("saved ones: heads/con", "as initialized: heads/con", "The optimizer and the"):
        assert line in told


def test_paths_may_be_relative_and_objects(finished, tmp_path, monkeypatch):
    monkeypatch.chdir(finished.logdir.parent)
    for path in (pathlib.Path("run"), pathlib.Path("run/checkpoints"), "run"):
        config = load(overrides={"run.from_checkpoint": path, "logdir": tmp_path})
        monkeypatch.chdir(tmp_path)
        assert checkpoint.locate(config.run.from_checkpoint).is_relative_to(finished.logdir)
        monkeypatch.chdir(finished.logdir.parent)


@pytest.mark.parametrize("regex", ["opt/", "states/", "enc/", "params/none"])
def test_an_expression_without_a_parameter_is_refused(finished, make_config, tmp_path, regex):
    words = ["--run.from_checkpoint", str(finished.logdir), "--run.from_checkpoint_regex", regex]
    with pytest.raises(CheckpointError, match=r"matches none of the checkpoint's \d+ parameters"):
        launch(make_config(tmp_path / "new", *words))
    assert not (tmp_path / "new").exists()


def test_another_action_space_leaves_out_what_the_message_says(finished, make_config, tmp_path):
    words = ["--task", "gym_MountainCar-v0", "--run.steps", "2", "--run.from_checkpoint"]
    words.append(str(finished.logdir))
    with pytest.raises(CheckpointError, match="environments differ") as caught:
        launch(make_config(tmp_path / "new", *words))
    assert not (tmp_path / "new").exists()
    message = str(caught.value)
    assert "params/heads/pol/outs/action/logits/kernel is (16, 2) there, (16, 3) here" in message
    regex = re.search(r"--run.from_checkpoint_regex '(.*)'", message)
    assert regex
    launch(make_config(tmp_path / "new", *words, "--run.from_checkpoint_regex", regex[1]))
    source, new = arrays(finished.logdir), arrays(tmp_path / "new")
    for name, same in (("dyn/core/gates/linear", True), ("heads/pol/outs/action/logits", False)):
        one, two = (x[f"params/{name}/kernel"] for x in (source, new))
        assert (one.shape == two.shape and np.array_equal(one, two)) is same
