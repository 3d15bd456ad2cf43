"""The printed configuration."""

import datetime
import os

import pytest
import yaml

from reverie.config.load import load
from reverie.config.printing import describe
from reverie.config.saved_runs.foreign import read_config
from reverie.config.schema import Config
from reverie.config.syntax.keys import groups, leaves
from reverie.errors import ConfigError


def test_it_is_yaml_that_loads_to_the_same_configuration(tmp_path):
    argv = ["--configs", "crafter", "size12m", "--env.gym.kwargs.note", "a # b: 'c'", "--seed", "4"]
    config = load([*argv, "--agent.enc.typ", "my.module:Enc", "--agent.enc.extra", "{z: off}"])
    path = tmp_path / "described.yaml"
    path.write_text(describe(config))
    assert load(configs=[str(path)]) == config


def test_printing_keeps_placeholders_for_the_next_run(tmp_path):
    now = datetime.datetime(2026, 1, 2, 3, 4, 5)
    path = tmp_path / "described.yaml"
    path.write_text(describe(load(["--jax.cache_dir", "~/cache"], expand=False)))
    assert yaml.safe_load(path.read_text())["logdir"] == "~/logdir/{timestamp}"
    again = load(configs=[str(path)], now=now)
    assert again.logdir == os.path.expanduser("~/logdir/20260102T030405")
    assert again.jax.cache_dir == os.path.expanduser("~/cache")
    with pytest.raises(ConfigError, match="timestmap"):
        load(["--logdir", "{timestmap}"], expand=False)


def test_other_yaml_readers_agree():
    config = load(["--jax.cache_dir", "off", "--run.from_checkpoint", "1e6"])
    content = yaml.safe_load(describe(config))
    assert content["jax"]["cache_dir"] == "off"
    assert content["run"]["from_checkpoint"] == "1e6"
    assert content["agent"]["opt"]["lr"] == 4e-5
    assert content["replay"]["prio"]["initial"] == float("inf")


def test_every_option_and_section_has_its_document():
    printed = " ".join(line.strip().removeprefix("# ") for line in describe(Config()).splitlines())
    for key, leaf in leaves(Config).items():
        assert f"{leaf.doc} [{leaf.expects}]" in printed, key
    for key, doc in groups(Config).items():
        assert doc in printed, key


def test_values_that_differ_name_their_source_and_default():
    argv = ["--configs", "crafter", r"--.*\.units", "32", "--seed", "0", "--batch_size", "8"]
    lines = describe(load(argv)).splitlines()
    assert "  train_ratio: 512.0  # set by block crafter; default 32.0" in lines
    assert r"    units: 32  # set by flag --.*\.units; default 1024" in lines
    assert "batch_size: 8  # set by flag --batch_size; default 16" in lines
    assert "seed: 0" in lines
    assert "batch_length: 64" in lines


def test_the_source_of_a_value_set_by_hand_is_code():
    assert "seed: 7  # set by code; default 0" in describe(Config(seed=7)).splitlines()


@pytest.mark.parametrize(
    "text", ["a\nb: 1", "x # y", "- z", "'", '"', "{a", "1e6", "null", "~", ""]
)
def test_awkward_text_survives(tmp_path, text):
    config = load(overrides={"run.from_checkpoint": text, "logdir": "x"})
    path = tmp_path / "described.yaml"
    path.write_text(describe(config))
    expected = load(overrides={"run.from_checkpoint": text, "logdir": "x"})
    assert read_config(path) == expected


def test_lines_of_comments_are_short():
    assert max(len(line) for line in describe(Config()).splitlines() if "#" in line) <= 100


def test_what_a_run_chooses_is_printed_as_a_comment_and_stays_open(tmp_path):
    path = tmp_path / "described.yaml"
    path.write_text(describe(load(["--agent.dyn.deter", "64"], expand=False)))
    again = load(configs=[path])
    assert again.agent.dyn.deter == 64
    assert "agent.dyn.deter" in again.sources
    for key in ("agent.dyn.hidden", "agent.enc.simple.depth", "agent.policy.units", "replay.size"):
        assert key not in again.sources
    assert "    # hidden: 1024 or less, as the run chooses" in path.read_text().splitlines()
    assert "# deter" not in path.read_text()
