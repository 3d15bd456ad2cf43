"""Runs with other objectives than the paper's, and checkpoints from before there was a list."""

import pathlib
import shutil
import sys

import numpy as np
import pytest

import reverie
from reverie.config.load import load_run
from reverie.errors import ConfigError
from reverie.learner.checkpoints import checkpoint
from reverie.learner.checkpoints.checkpoint import Checkpointer
from reverie.learner.learner import Learner
from reverie.run.scripts import launch
from reverie.track.sinks.jsonl import read_jsonl

EXAMPLES = pathlib.Path(__file__).parents[2] / "examples"
PAPER = ["dynamics", "reconstruction", "reward", "continue", "actor_critic"]


def test_the_example_trains_and_its_loss_is_logged(make_config, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [str(EXAMPLES), *sys.path])
    words = ["--agent.objectives", *PAPER, "own_objective:next_reward", "--run.log_every", "0.2"]
    words += ["--agent.extra.next_reward.scale", "0.5", "--run.steps", "60"]
    launch(make_config(tmp_path / "run", *words))
    logged = [x for x in read_jsonl(tmp_path / "run" / "metrics.jsonl") if "train/loss/next" in x]
    assert all(record["train/loss/next"] > 0 for record in logged)
    assert logged
    # Acting needs no code that only trains.
    monkeypatch.setattr(sys, "path", sys.path[1:])
    monkeypatch.delitem(sys.modules, "own_objective")
    assert reverie.load(tmp_path / "run").step == 60
    # In the hands of somebody else it is code that a folder names.
    (tmp_path / "run" / "signature").unlink()
    with pytest.raises(ConfigError, match=r"agent.objectives.*own_objective:next_reward.*--trust"):
        reverie.load(tmp_path / "run")


def test_a_run_without_a_decoder_reports_its_losses_alone(make_config, tmp_path, monkeypatch):
    # A run does not wait for its reports otherwise.
    monkeypatch.setattr(Learner, "ready", lambda learner, kind, batch: True)
    words = ["--agent.objectives", *(name for name in PAPER if name != "reconstruction")]
    words += ["--run.report_every", "1e-6", "--run.log_every", "1e-6", "--run.side_share", "1"]
    # That such an agent trains: tests/agent/test_objectives.py.
    launch(make_config(tmp_path, *words, "--run.steps", "60", "--run.train_ratio", "0"))
    records = read_jsonl(tmp_path / "metrics.jsonl")
    assert any("report/loss/dyn" in record for record in records)
    assert not (tmp_path / "openloop").exists()
    saved = checkpoint.newest(tmp_path)
    assert not any("/dec/" in name for name in saved.arrays)


def earlier(name):
    """What versions without a list of objectives called an array."""
    first, _, rest = name.partition("/")
    if first not in ("params", "acting"):
        return name.replace("states/actor_critic/", "")
    world = "" if rest.startswith(("heads/pol/", "heads/val/")) else "world/"
    return f"{first}/{world}{rest.removeprefix('heads/')}"


def test_checkpoints_with_the_names_of_earlier_versions_are_read(copied):
    checkpoints = Checkpointer(copied / "checkpoints")
    new = checkpoints.restore()
    assert new
    old = {earlier(name): value for name, value in new.arrays.items()}
    held = {earlier(name): value for name, value in new.held.items()}
    assert {"params/world/dec/mlp/layers/0/linear/bias", "norms/ret/first"} < set(old)
    assert "slow/out/bias" in old
    assert not any("heads" in name or "states" in name for name in (*old, *held))
    shutil.rmtree(copied / "checkpoints")
    checkpoints.save(new.step, old, new.meta, held)
    for part in ("arrays", "held"):
        found, expected = getattr(checkpoints.restore(), part), getattr(new, part)
        assert set(found) == set(expected)
        for name, value in expected.items():
            np.testing.assert_array_equal(found[name], value)
    assert reverie.load(copied).step == new.step
    words = ["--logdir", str(copied), "--jax.fast_compile", "true"]
    launch(load_run([*words, "--run.steps", str(new.step + 20)]))
    assert checkpoints.steps()[-1] == new.step + 20
