"""Layers of values: blocks, files, overrides and flags, and the errors of each."""

import datetime
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reverie.config.load import load, load_run
from reverie.config.nearest import ELSEWHERE
from reverie.config.schema import Config
from reverie.config.syntax.keys import leaves
from reverie.errors import ConfigError


def error(argv=None, **kwargs) -> str:
    with pytest.raises(ConfigError) as caught:
        load(argv, **kwargs)
    return str(caught.value)


def test_nothing_given_is_the_default_but_for_the_logdir():
    config = load()
    assert config.model_dump(exclude={"logdir"}) == Config().model_dump(exclude={"logdir"})


def test_blocks_lie_over_each_other_in_the_order_given():
    ratio = {name: load(configs=[name]).run.train_ratio for name in ("crafter", "procgen")}
    assert ratio == {"crafter": 512.0, "procgen": 64.0}
    assert load(["--configs", "crafter", "procgen"]).run.train_ratio == 64.0
    assert load(["--configs", "procgen", "crafter"]).run.train_ratio == 512.0


@pytest.mark.parametrize(
    "argv",
    [
        ["--configs", "crafter", "size12m", "--seed", "3"],
        ["--configs", "crafter,size12m", "--seed=3"],
        ["--configs=crafter", "--seed", "3", "--configs", "size12m"],
    ],
)
def test_ways_to_name_blocks(argv):
    config = load(argv)
    assert (config.task, config.agent.dyn.deter, config.seed) == ("crafter_reward", 2048, 3)


def test_configs_of_the_python_api_come_before_those_of_the_command_line():
    assert load(["--configs", "crafter"], configs=["procgen"]).run.train_ratio == 512.0
    assert load(configs="procgen,crafter").run.train_ratio == 512.0
    assert load(configs="").run.train_ratio == 32.0


def test_configs_may_be_paths(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("batch_size: 4\n")
    for configs in (path, [path], ["debug", path], str(path)):
        assert load(configs=configs).batch_size == 4
    assert load_run(configs=path).batch_size == 4


def test_flags_win_over_overrides_and_overrides_over_blocks():
    argv = ["--configs", "crafter", "--run.train_ratio", "8"]
    overrides = {"run.train_ratio": 16, "run.envs": 3}
    config = load(argv, overrides=overrides)
    assert (config.run.train_ratio, config.run.envs, config.run.steps) == (8.0, 3, 1_100_000)


def test_flags_stay_above_blocks_that_are_named_later():
    assert load(["--run.train_ratio", "8", "--configs", "crafter"]).run.train_ratio == 8.0


def test_sources_name_the_last_layer():
    config = load(
        ["--configs", "crafter", "--seed", "1"], configs=["size1m"], overrides={"run.envs": 2}
    )
    sources = config.sources
    assert sources["task"] == "block crafter"
    assert sources["agent.dyn.deter"] == "block size1m"
    assert sources["run.envs"] == "overrides"
    assert sources["seed"] == "flag --seed"
    assert "batch_size" not in sources


def test_overrides_may_be_nested_dotted_or_expressions():
    config = load(
        overrides={"run": {"envs": 2}, "agent.dyn": {"deter": 16}, r".*\.units": 8, "seed": 5}
    )
    assert (config.run.envs, config.agent.dyn.deter, config.seed) == (2, 16, 5)
    assert config.agent.policy.units == config.agent.enc.simple.units == 8


def test_later_keys_of_a_layer_win_over_expressions_and_the_reverse():
    first = load(overrides={r".*\.units": 8, "agent.value.units": 4}).agent
    last = load(overrides={"agent.value.units": 4, r".*\.units": 8}).agent
    assert (first.value.units, first.policy.units, last.value.units) == (4, 8, 8)


def test_an_expression_inside_a_section_stays_inside():
    agent = load(overrides={"agent": {"enc": {r".*units": 8}}}).agent
    assert (agent.enc.simple.units, agent.dec.simple.units) == (8, 1024)


def test_free_mappings_merge_single_keys_and_replace_as_a_whole():
    layers = {"env.gym.kwargs": {"a": 1, "b": {"c": 2}}}
    merged = load(["--env.gym.kwargs.b.d", "3"], overrides=layers)
    assert merged.env.gym.kwargs == {"a": 1, "b": {"c": 2, "d": 3}}
    replaced = load(["--env.gym.kwargs", "{z: on}"], overrides=layers)
    assert replaced.env.gym.kwargs == {"z": "on"}
    assert layers == {"env.gym.kwargs": {"a": 1, "b": {"c": 2}}}


def test_logdir_placeholders(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    now = datetime.datetime(2026, 1, 31, 10, 15, 0)
    config = load(["--logdir", "~/runs/{timestamp}-a"], now=now)
    assert config.logdir == f"{tmp_path}/runs/20260131T101500-a"
    assert config.sources["logdir"] == "flag --logdir (~/runs/{timestamp}-a)"
    assert load(now=now).logdir == f"{tmp_path}/logdir/20260131T101500"
    assert load(["--logdir", "plain"]).sources["logdir"] == "flag --logdir"


def test_other_paths_expand_the_home_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    config = load(["--run.from_checkpoint", "~/ckpt", "--jax.cache_dir=~/cache"])
    assert config.run.from_checkpoint == f"{tmp_path}/ckpt"
    assert config.jax.cache_dir == f"{tmp_path}/cache"


def test_paths_may_be_path_objects(tmp_path):
    assert load(overrides={"logdir": tmp_path}).logdir == os.fspath(tmp_path)


def test_an_unknown_placeholder_is_an_error():
    message = error(["--logdir", "~/{timestmap}"])
    assert "logdir = '~/{timestmap}' from flag --logdir" in message
    assert "{timestamp}, {task} and {seed}, got {timestmap}" in message


def test_user_files_are_layers(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(
        "run:\n  steps: 1e6\nagent.opt.lr: 3e-4\n.*\\.units: 32\njax.cache_dir: off\n"
        "logger.outputs: [jsonl]\n"
    )
    config = load(["--configs", "size1m", str(path)])
    assert (config.run.steps, config.agent.opt.lr, config.agent.value.units) == (10**6, 3e-4, 32)
    assert (config.jax.cache_dir, config.logger.outputs) == ("off", ("jsonl",))
    assert config.agent.dyn.deter == 512
    assert config.sources["run.steps"] == f"file {path}"


def test_an_empty_user_file_changes_nothing(tmp_path):
    path = tmp_path / "empty.yml"
    path.write_text("# nothing yet\n")
    assert load(configs=[str(path)], overrides={"logdir": "x"}) == load(overrides={"logdir": "x"})


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("seed: 1\nseed: 2\n", "line 2 gives the key 'seed' a second time"),
        ("run: {steps: 1", "not valid YAML"),
        ("- 1\n- 2\n", "must hold keys and values, got list"),
        ("seed: !!bool x\n", "not valid YAML"),
        ("run:\n  steps: many\n", "run.steps = 'many' from file"),
        ("run: {steps: 5}\nrun.steps: 6\n", "sets run.steps twice"),
    ],
)
def test_user_file_errors_name_the_file(tmp_path, content, words):
    path = tmp_path / "bad.yaml"
    path.write_text(content)
    message = error(configs=[str(path)])
    assert words in message
    assert str(path) in message


def test_a_missing_or_binary_file(tmp_path):
    missing = tmp_path / "gone.yaml"
    assert f"{missing}: No such file" in error(configs=[str(missing)])
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"\xff\xfe\x00")
    assert f"Cannot read the configuration file {binary}" in error(configs=[str(binary)])


def test_an_unknown_block_names_the_nearest_and_all():
    message = error(["--configs", "craftr"])
    assert "Unknown block 'craftr'" in message
    assert "Nearest known: crafter" in message
    assert "size400m" in message


@pytest.mark.parametrize(
    ("key", "nearest"),
    [
        ("run.train_ratoi", "run.train_ratio"),
        ("train_ratio", "run.train_ratio"),
        ("agnet.dyn.deter", "agent.dyn.deter"),
        ("agent.deter", "agent.dyn.deter"),
        ("rnu", "run"),
    ],
)
def test_an_unknown_key_names_value_source_and_nearest(key, nearest):
    message = error([f"--{key}", "3"])
    assert f"Unknown key '{key}' = '3' from flag --{key}" in message
    assert nearest in message.split("Nearest known: ")[1]


def test_unknown_keys_in_overrides_name_them_too():
    assert "'run.stepz' = 3 from overrides" in error(overrides={"run": {"stepz": 3}})


def test_a_shortened_key_that_fits_many_is_ambiguous():
    message = error(["--units", "3"])
    assert message.startswith("Ambiguous key units = '3' from flag --units")
    assert "agent.policy.units" in message
    assert r".*\.units" in message


def test_a_section_is_not_an_option():
    message = error(overrides={"replay": 5})
    assert "Ambiguous key replay = 5 from overrides: it is a section" in message
    assert "replay.chunksize" in message
    assert "--task" not in message
    assert error(["--env", "CartPole-v1"]).endswith("An environment is named with --task.")


def test_setting_a_key_twice_in_one_layer_is_ambiguous():
    assert "overrides sets run.envs twice" in error(overrides={"run": {"envs": 1}, "run.envs": 2})


def test_expressions_must_compile_and_match():
    assert "not a valid regular expression" in error(["--.*(", "3"])
    message = error([r"--.*\.unitz", "3"])
    assert r"The regular expression .*\.unitz = '3' from flag" in message
    assert "agent.policy.units" in message


def test_an_expression_that_matches_a_wrong_type_names_the_option():
    message = error([r"--run\.env.*", "1"])
    assert message.startswith(
        r"Option run.env_backend = '1' from flag --run\.env.*: expected one of"
    )


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--run.envs", "0"], "run.envs = '0' from flag --run.envs: expected an integer >= 1"),
        (["--run.envs", "2.5"], "expected an integer >= 1"),
        (["--run.train_ratio", "fast"], "run.train_ratio = 'fast'"),
        (["--run.train_ratio", "nan"], "expected a number >= 0"),
        (["--agent.opt.beta1", "1"], "expected a number >= 0 and < 1"),
        (["--run.env_backend", "asynch"], "expected one of 'auto', 'sync', 'async'"),
        (["--env.dmc.size", "64"], "expected a list of 2 integers >= 3"),
        (["--env.dmc.size", "64", "x"], "env.dmc.size = '64 x'"),
        (["--env.gym.size", "64"], "or an empty list (got 1)"),
        (["--jax.devices", "0,0"], "an entry is repeated"),
        (["--jax.policy_device", "[]"], "expected an integer >= 0"),
        (["--logger.outputs", "jsonl", "paper"], "a list of 'terminal', 'jsonl'"),
        (["--logger.filter", "("], "expected a regular expression (missing )"),
        (["--env.gym.kwargs", "5"], "expected a mapping"),
        (["--task", "cartpole"], "task = 'cartpole' from flag --task: expected suite_name"),
        (["--logdir", ""], "expected text that is not empty"),
        (["--logdir", "gs://bucket/run"], "expected a folder of a file system, and no address"),
        (["--agent.enc.typ", "mine"], "expected 'simple' or 'module:Class'"),
    ],
)
def test_values_of_the_wrong_type_or_size(argv, words):
    message = error(argv)
    assert words in message
    assert "\n" not in message


def test_long_values_are_shortened_in_messages():
    message = error(["--seed", "9" * 10_000])
    assert len(message) < 300
    assert "999...999" in message


def test_yaml_values_are_not_guessed():
    assert "run.envs = '4'" in error(overrides={"run.envs": "4"})
    assert "run.debug = 1" in error(overrides={"run.debug": 1})
    assert "task = 5" in error(overrides={"task": 5})
    assert "run.envs = True" in error(overrides={"run.envs": True})


WORDS = (
    *("--seed", "--run.envs", "--configs", "debug", "--env.dmc.size", "64,64", "--.*units", "1e6"),
    *("--logger.outputs", "jsonl", "--env.gym.kwargs", "{a: [1]}", "--run.debug", "--", "[", "="),
)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from(WORDS) | st.text(max_size=12), max_size=6))
def test_any_command_line_gives_a_configuration_or_one_clear_error(argv):
    try:
        outcome = load(argv).task
    except ConfigError as problem:
        outcome = str(problem)
    assert outcome.strip()


def test_paths_are_absolute_because_environments_may_change_the_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "old").mkdir()
    config = load(overrides={"logdir": "runs/a", "run.from_checkpoint": "old"})
    assert config.logdir == str(tmp_path / "runs" / "a")
    assert config.run.from_checkpoint == str(tmp_path / "old")
    assert load(expand=False, overrides={"logdir": "runs/a"}).logdir == "runs/a"


def test_the_logdir_may_name_task_and_seed():
    argv = ["--logdir", "/runs/{task}-{seed}", "--task", "gym_ALE/Pong-v5", "--seed", "3"]
    assert load(argv).logdir == "/runs/gym_ALE_Pong-v5-3"
    # What stands in for a placeholder is not looked at again.
    assert (
        load(["--logdir", "/runs/{task}", "--task", "gym_a:{seed}"]).logdir == "/runs/gym_a_seed_"
    )


@pytest.mark.parametrize(
    ("given", "task"),
    [
        ("CartPole-v1", "gym_CartPole-v1"),
        ("ALE/Pong-v5", "gym_ALE/Pong-v5"),
        ("my_games/Grid-v0", "gym_my_games/Grid-v0"),
        ("minigrid:MiniGrid-Empty-5x5-v0", "gym_minigrid:MiniGrid-Empty-5x5-v0"),
        ("gym_CartPole-v1", "gym_CartPole-v1"),
        ("envpool_Pong-v5", "envpool_Pong-v5"),
        ("dmc_walker_walk", "dmc_walker_walk"),
        ("custom_Mine-v1", "custom_Mine-v1"),
    ],
)
def test_a_gymnasium_id_is_a_task_without_its_suite(given, task, tmp_path):
    assert load(["--task", given]).task == task
    path = tmp_path / "config.yaml"
    load(overrides={"task": given, "seed": 5}).to_yaml(path)
    # So the same command goes on with what it has started.
    assert load_run(["--task", given, "--logdir", str(tmp_path)]).seed == 5


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("total_timesteps", "run.steps"),
        ("config", "configs"),
        ("learning_rate", "agent.opt.lr"),
        ("num-envs", "run.envs"),
    ],
)
def test_names_of_other_libraries_lead_to_the_option(name, meant):
    assert f"Did you mean {meant}?" in error([f"--{name}", "1"])
    assert f"Did you mean {meant}?" in error(overrides={name: 1})


def test_the_names_of_other_libraries_lead_to_options_that_exist():
    known = {*leaves(Config), "configs"}
    for name, meant in ELSEWHERE.items():
        assert meant in known
        assert name not in known


def test_gpu_is_another_name_of_cuda():
    assert load(["--jax.platform", "gpu"]).jax.platform == "cuda"
    assert "expected one of 'auto', 'cpu', 'cuda', 'tpu'" in error(["--jax.platform", "rocm"])


@pytest.mark.parametrize("configs", [3, ["debug", None]])
def test_configs_of_another_type_are_refused(configs):
    assert "expected names of blocks and paths of yaml files" in error(configs=configs)
