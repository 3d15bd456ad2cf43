"""The forms in which flags may be written."""

import pytest

from reverie.config.load import load
from reverie.errors import ConfigError


@pytest.mark.parametrize(
    "argv",
    [
        ["--env.dmc.size", "96,128"],
        ["--env.dmc.size", "96", "128"],
        ["--env.dmc.size=96,128"],
        ["--env.dmc.size", "[96, 128]"],
        ["--env.dmc.size", "96,", "128"],
    ],
)
def test_lists(argv):
    assert load(argv).env.dmc.size == (96, 128)


@pytest.mark.parametrize(
    ("argv", "outputs"),
    [
        (["--logger.outputs", "jsonl", "terminal"], ("jsonl", "terminal")),
        (["--logger.outputs", "jsonl"], ("jsonl",)),
        (["--logger.outputs", "[jsonl]"], ("jsonl",)),
        (["--logger.outputs", "[]"], ()),
        (["--logger.outputs="], ()),
    ],
)
def test_lists_of_names(argv, outputs):
    assert load(argv).logger.outputs == outputs


@pytest.mark.parametrize(
    ("words", "value"),
    [([], True), (["true"], True), (["True"], True), (["false"], False), (["False"], False)],
)
def test_booleans(words, value):
    assert load(["--agent.ac_grads", *words, "--seed", "1"]).agent.ac_grads is value


@pytest.mark.parametrize("word", ["yes", "1", "on", "truth"])
def test_words_that_look_like_booleans_are_refused(word):
    with pytest.raises(ConfigError, match="expected true or false"):
        load(["--agent.ac_grads", word])


@pytest.mark.parametrize(
    ("word", "steps"), [("5e6", 5_000_000), ("1_000", 1000), ("1.1e6", 1_100_000), ("+7", 7)]
)
def test_whole_numbers(word, steps):
    assert load(["--run.steps", word]).run.steps == steps


@pytest.mark.parametrize(("word", "value"), [("inf", "inf"), (".inf", "inf"), ("2", "2.0")])
def test_numbers_that_may_be_infinite(word, value):
    assert str(load(["--replay.prio.initial", word]).replay.prio.initial) == value


def test_negative_values_need_no_equals_sign():
    assert load(["--env.dmc.camera", "-1"]).env.dmc.camera == -1


def test_text_is_taken_as_it_is():
    argv = ["--task", "gym_5e6", "--logger.filter", "*a|b".replace("*", ".*")]
    config = load([*argv, "--jax.cache_dir", "off", "--run.from_checkpoint", "null"])
    assert (config.task, config.logger.filter) == ("gym_5e6", ".*a|b")
    assert (config.jax.cache_dir, config.run.from_checkpoint) == ("off", "null")


def test_a_value_may_begin_with_dashes_or_hold_equals_signs():
    assert load(["--run.from_checkpoint=--a=b"]).run.from_checkpoint == "--a=b"


def test_the_last_of_repeated_flags_wins():
    assert load(["--seed", "1", "--seed", "2"]).seed == 2


@pytest.mark.parametrize("argv", [[r"--.*\.units", "64"], [r"--.*\.units=64"]])
def test_expressions_set_every_match_in_order(argv):
    agent = load([*argv, "--agent.value.units", "32"]).agent
    assert (agent.policy.units, agent.conhead.units, agent.value.units) == (64, 64, 32)


def test_expressions_over_lists_and_booleans():
    config = load([r"--env\.(dmc|crafter)\.size", "80", "80", r"--.*\.debias"])
    assert config.env.dmc.size == config.env.crafter.size == (80, 80)
    assert config.env.dummy.size == (64, 64)
    assert config.agent.retnorm.debias is config.agent.advnorm.debias is True


def test_free_mappings_read_yaml_values():
    argv = ["--env.gym.kwargs.size", "1e3", "--env.gym.kwargs.name", "off", "--env.gym.kwargs.l"]
    kwargs = load([*argv, "a", "2"]).env.gym.kwargs
    assert kwargs == {"size": 1000.0, "name": "off", "l": ["a", 2]}
    assert load(["--env.gym.kwargs.continuous", "--seed", "1"]).env.gym.kwargs["continuous"] is True


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--seed"], "--seed: expected one value, an integer"),
        (["--seed", "1", "2"], "--seed 1 2: expected one value"),
        (["--env.dmc.size"], "--env.dmc.size: expected a list of 2 integers"),
        (["train"], "Unexpected argument 'train'"),
        (["--seed=1", "2"], "Unexpected argument '2'"),
        (["-seed", "1"], "Unexpected argument '-seed'"),
        (["--configs"], "--configs: expected names of blocks"),
        (["--configs", "--seed", "1"], "--configs: expected names of blocks"),
    ],
)
def test_malformed_command_lines(argv, words):
    with pytest.raises(ConfigError) as caught:
        load(argv)
    assert words in str(caught.value)


def test_a_list_may_be_written_as_in_python_without_quotes():
    assert load(["--env.gym.size", "[64,", "64]"]).env.gym.size == (64, 64)
    assert load(["--logger.outputs", "[terminal,", "jsonl]"]).logger.outputs == (
        "terminal",
        "jsonl",
    )
