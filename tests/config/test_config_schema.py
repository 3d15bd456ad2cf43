"""The schema: documents, bounds, defaults, number forms, immutability."""

import math
import pathlib
import pickle

import numpy as np
import pytest
from pydantic import ValidationError

import reverie.config
from reverie.config.load import load
from reverie.config.saved_runs.foreign import read_config
from reverie.config.schema import Config, RunConfig
from reverie.config.sections.agent import NormConfig
from reverie.config.syntax.keys import groups, leaves
from reverie.errors import ConfigError
from reverie.track.runs.published import action_repeat


def test_every_option_and_section_is_documented():
    undocumented = [key for key, leaf in leaves(Config).items() if not leaf.doc.endswith(".")]
    undocumented += [key for key, doc in groups(Config).items() if not doc.endswith(".")]
    assert undocumented == []
    assert len(leaves(Config)) > 150


def test_every_number_is_bounded():
    signs = (">", "<", "from")
    numbers = [leaf for leaf in leaves(Config).values() if leaf.item in (int, float)]
    assert [n.key for n in numbers if not any(s in n.expects for s in signs)] == []


def test_the_defaults_are_those_of_the_algorithm():
    config = Config()
    assert (config.batch_size, config.batch_length, config.replay_context) == (16, 64, 1)
    assert (config.run.steps, config.run.envs, config.run.train_ratio) == (10**6, 16, 32.0)
    assert (config.replay.size, config.replay.prio.initial) == (5_000_000, math.inf)
    dyn = config.agent.dyn
    assert (dyn.deter, dyn.hidden, dyn.stoch, dyn.classes, dyn.blocks) == (8192, 1024, 32, 64, 8)
    assert (config.agent.retnorm.impl, config.agent.retnorm.limit) == ("perc", 1.0)
    assert (config.agent.advnorm.impl, config.agent.advnorm.limit) == ("none", 1e-8)
    assert (config.agent.loss_scales.rep, config.agent.loss_scales.repval) == (0.1, 0.3)
    assert (config.agent.opt.lr, config.agent.opt.eps) == (4e-5, 1e-20)


def test_a_partly_given_section_keeps_its_other_defaults():
    # A default instance that differed from its class would silently change here.
    assert Config.model_validate({name: {} for name in ("run", "agent", "env")}) == Config()
    for key in groups(Config):
        tree: dict = {}
        node = tree
        for name in key.split("."):
            node[name] = node = {}
        assert Config.model_validate(tree) == Config(), key


@pytest.mark.parametrize(
    ("value", "stored"), [(1e6, 1_000_000), (5e6, 5_000_000), (np.int64(7), 7), (3.0, 3)]
)
def test_whole_numbers_in_any_notation(value, stored):
    steps = RunConfig(steps=value).steps
    assert (steps, type(steps)) == (stored, int)


@pytest.mark.parametrize("value", [1.5, True, "5", None, math.inf, math.nan, 0, -3, [4]])
def test_a_count_refuses_what_is_not_one(value):
    with pytest.raises(ValidationError):
        RunConfig(steps=value)


@pytest.mark.parametrize("value", [True, "1", None, math.inf, math.nan, -1.0])
def test_a_number_refuses_what_is_not_one(value):
    with pytest.raises(ValidationError):
        RunConfig(train_ratio=value)


def test_a_number_takes_integers_and_numpy_scalars():
    assert RunConfig(train_ratio=64).train_ratio == 64.0
    assert RunConfig(train_ratio=np.float32(0.5)).train_ratio == 0.5
    assert isinstance(RunConfig(train_ratio=64).train_ratio, float)


def test_bounds_hold_in_every_section():
    with pytest.raises(ValidationError):
        NormConfig(perchi=100.5)
    with pytest.raises(ValidationError):
        NormConfig(rate=0)


def test_the_configuration_is_frozen_and_closed():
    config = Config()
    with pytest.raises(ValidationError, match="frozen"):
        config.agent.dyn.deter = 5
    with pytest.raises(ValidationError, match="Extra inputs"):
        RunConfig(step=5)


def test_equality_ignores_the_sources_and_sections_can_be_hashed():
    loaded = load(["--seed", "0"], overrides={"logdir": "x"})
    plain = load(overrides={"logdir": "x"})
    assert loaded == plain
    assert loaded.sources != plain.sources
    assert loaded != load(overrides={"logdir": "y"})
    assert loaded != "x"
    assert hash(loaded.agent.dyn) == hash(plain.agent.dyn)


def test_a_configuration_travels_to_worker_processes():
    config = load(["--env.gym.kwargs.a", "1", "--logdir", "x"])
    copy = pickle.loads(pickle.dumps(config))
    assert copy == config
    assert copy.sources == config.sources


def test_suite_is_the_part_before_the_first_underscore():
    assert Config(task="dmc_walker_walk").suite == "dmc"


def test_yaml_file_round_trip(tmp_path):
    config = load(
        ["--configs", "size12m", "--env.gym.kwargs", "{mode: 'off', n: 1e6, t: '1e6'}"],
        overrides={"logdir": tmp_path / "run", "logger.filter": 'a: "b" # \\w{1,3}\n'},
    )
    path = tmp_path / "new" / "config.yaml"
    config.to_yaml(path)
    assert read_config(path) == config
    assert list(path.parent.iterdir()) == [path]
    lines = path.read_text().splitlines()
    assert {"  steps: 1000000", "    size: [64, 64]", "      units: 256"} <= set(lines)


def test_a_saved_file_may_lack_options_but_not_hold_unknown_ones(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("seed: 4\nrun: {envs: 2}\n")
    assert read_config(path) == Config.model_validate({"seed": 4, "run": {"envs": 2}})
    path.write_text("run: {envz: 2}\n")
    with pytest.raises(ConfigError, match=r"config.yaml holds 'run.envz', which is no option"):
        read_config(path)


def test_the_package_needs_neither_jax_nor_gymnasium():
    root = pathlib.Path(reverie.config.__file__).parent
    for path in root.rglob("*.py"):
        source = path.read_text()
        assert "import jax" not in source, path
        assert "gymnasium import" not in source, path
        assert "import gymnasium" not in source, path


@pytest.mark.parametrize(
    ("task", "frames"),
    [("atari_pong", 4), ("gym_CartPole-v1", 1), ("crafter_reward", 1), ("module:Class", 1)],
)
def test_frames_per_step_are_those_of_the_suite(task, frames):
    assert load(["--task", task]).repeat == frames
    assert load(["--task", "dmc_walker_walk", "--env.dmc.repeat", "2"]).repeat == 2


@pytest.mark.parametrize("task", ["custom_Mine", "my_env:Mine", "gym_my_env:Mine-v0"])
def test_own_environments_have_the_options_of_gymnasium(task):
    config = load(["--task", task, "--env.gym.repeat", "3"])
    assert config.suite == "gym"
    assert config.repeat == 3
    assert action_repeat({"task": task, "env.gym.repeat": 3}) == 3
