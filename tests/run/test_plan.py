"""What a run would take, before it begins."""

import dataclasses
import os
import re
import signal
import sys
import types
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import pytest

from reverie import cli
from reverie.nn import layers
from reverie.run.parts.start import updates_line
from reverie.run.planning import device_memory
from reverie.run.planning.card import LAUNCH, launches
from reverie.run.planning.device_memory import DeviceMemoryError
from reverie.run.planning.flops import FlopsError
from reverie.run.planning.plan import plan
from reverie.run.scripts import launch


@pytest.fixture(scope="module", autouse=True)
def quickly():
    """Measures for a moment each."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("reverie.run.planning.plan.SECONDS", 0.3)
        yield


@pytest.fixture(scope="module")
def planned(make_config, tmp_path_factory):
    """The plan of a debug run, whose folder does not exist."""
    folder = tmp_path_factory.mktemp("planned") / "run"
    return plan(make_config(folder, "--run.steps", "5000")), folder


def test_a_plan_tells_memory_updates_and_time(planned):
    made, folder = planned
    rows = dict(made.rows())
    assert list(rows) == [
        "Task", "Model", "Memory", "Updates", "Replay", "Measured", "Speed", "Time",
    ]  # fmt: skip
    config = made.config
    ratio = config.run.train_ratio / (config.batch_size * config.batch_length)
    assert f"{5000 * ratio:,.0f} in all" in rows["Updates"]
    acting = 5000 / config.run.envs * made.step
    assert made.seconds == pytest.approx(acting + 5000 * ratio * made.update)
    assert 0 < made.state < made.program < made.available
    assert 0 < made.policy < made.step * 2
    assert made.largest_batch > config.batch_size
    assert not folder.exists()


@pytest.mark.parametrize(("warmup", "told"), [(2500, False), (2501, True), (9000, True)])
def test_a_run_that_is_mostly_warm_up_is_told(make_config, tmp_path, warmup, told):
    """As one with a low train ratio, whose policy is nearly random when it ends."""
    words = ["--run.steps", "5000", "--batch_size", "8", "--batch_length", "8"]
    words += ["--run.train_ratio", "64", "--agent.opt.warmup", str(warmup)]
    line = updates_line(make_config(tmp_path / "run", *words))
    assert "5,000 in all" in line
    risen = f"the learning rate rises until update {warmup:,} (agent.opt.warmup)"
    assert (risen in line) == told


def test_a_plan_of_random_actions_has_no_model(make_config, tmp_path):
    made = plan(make_config(tmp_path / "run", "--random_agent", "true"))
    assert list(dict(made.rows())) == ["Task", "Replay", "Measured", "Speed", "Time"]
    assert made.seconds > 0


def test_a_described_card_is_estimated(make_config, tmp_path, capsys):
    config = make_config(tmp_path / "run", "--run.steps", "5000")
    made = plan(config, card="rtx4090")
    rows = dict(made.rows())
    assert "Measured" not in rows
    assert "of 18.0 GB on rtx4090" in rows["Memory"]
    assert "an estimate" in rows["Note"]
    assert 0 < made.state < made.program < made.available
    assert made.update > launches(config, {}) * LAUNCH
    assert plan(config, card="l4").update >= made.update
    assert cli.main(["plan", "--configs", "quickstart", "--card", "h1000"]) == 2
    assert "this or one of b200" in capsys.readouterr().err


class Searching(eqx.Module):
    """An encoder with products in a loop of which only the run tells how often it runs."""

    embed: layers.Linear
    tokens: int = eqx.field(static=True)

    def __init__(self, obs_space, *, key):
        (space,) = obs_space.values()
        self.tokens = 8
        self.embed = layers.Linear(space.shape[0], self.tokens, key=key)

    def __call__(self, obs, dtype):
        (x,) = obs.values()
        x = self.embed(x.astype(dtype))
        small = lambda x: jnp.abs(x).sum() < 1  # noqa: E731
        double = lambda x: x @ (2 * jnp.eye(self.tokens, dtype=dtype))  # noqa: E731
        return x + jax.lax.while_loop(small, double, jax.lax.stop_gradient(x))


def test_an_encoder_whose_operations_are_unknown_can_only_be_measured(
    make_config, tmp_path, monkeypatch
):
    monkeypatch.setitem(sys.modules, "searching", types.SimpleNamespace(Searching=Searching))
    config = make_config(tmp_path / "run", "--agent.enc.typ", "searching:Searching")
    with pytest.raises(FlopsError, match=r"'while' cannot be counted: only a run on the device"):
        plan(config, card="h100")


def test_a_model_is_not_recommended_for_its_memory_alone_on_a_cpu(planned):
    assert not planned[0].largest_model
    accelerator = dataclasses.replace(planned[0], device="cuda:0", available=25e9)
    assert accelerator.largest_model == "size200m"


def test_a_plan_says_what_does_not_fit(planned):
    made = dataclasses.replace(planned[0], available=planned[0].program - 1)
    assert "does not fit" in dict(made.rows())["Memory"]
    assert (planned[0].fits, made.fits) == (True, False)
    full = dataclasses.replace(made.budget, ram_available=1.0, disk_available=1.0)
    made = dataclasses.replace(planned[0], budget=full)
    assert "It does not fit" in dict(made.rows())["Replay"]
    assert not made.fits


def test_a_plan_that_does_not_fit_has_an_exit_code(capsys, cache, tmp_path, monkeypatch):
    monkeypatch.setattr("reverie.run.planning.plan.available", lambda learner: 1000.0)
    words = ["--configs", "debug", "--task", "CartPole-v1", "--jax.cache_dir", cache]
    assert cli.main(["plan", *words, "--logdir", str(tmp_path / "run")]) == 1
    assert "does not fit" in capsys.readouterr().out


def test_the_command_prints_it(capsys, cache, tmp_path):
    words = ["--configs", "debug", "--task", "CartPole-v1", "--jax.cache_dir", cache]
    assert cli.main(["plan", *words, "--logdir", str(tmp_path / "run")]) == 0
    out = capsys.readouterr().out
    assert re.search(r"^Time +\S+.* for [\d,]+ steps", out, re.MULTILINE)
    assert not (tmp_path / "run").exists()
    assert cli.main(["plan", "--configs", "debug"]) == 2
    assert "No --task given" in capsys.readouterr().err


def test_an_update_without_room_is_refused_before_any_is_made(make_config, tmp_path, monkeypatch):
    monkeypatch.setattr(device_memory, "available", lambda learner: 1000.0)
    with pytest.raises(DeviceMemoryError, match="batch_size \\(now 2\\)") as raised:
        launch(make_config(tmp_path / "run", "--run.steps", "400"))
    assert "An update needs" in str(raised.value)


@pytest.mark.parametrize(("left", "fits"), [(60.0, True), (59.0, False)])
def test_the_state_of_the_agent_is_counted_once(monkeypatch, left, fits):
    """Two devices of a CPU hold it already, so that it is gone from what is left."""
    placement = types.SimpleNamespace(
        platform="cpu", shards=1, here=[types.SimpleNamespace(memory_stats=lambda: None)] * 2
    )
    needs = {"train": 100}
    learner: Any = types.SimpleNamespace(placement=placement, nbytes=70, memory_needs=lambda: needs)
    monkeypatch.setattr(device_memory, "available_ram", lambda: left)
    assert (device_memory.needed(learner) <= device_memory.available(learner)) == fits


def test_ctrl_c_ends_a_plan_and_promises_no_save(make_config, tmp_path, monkeypatch, capfd):
    def interrupted(*_):
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr("reverie.run.planning.plan._measure", interrupted)
    with pytest.raises(KeyboardInterrupt):
        plan(make_config(tmp_path / "run"))
    assert "SIGINT: stopping.\n" in capfd.readouterr().err
