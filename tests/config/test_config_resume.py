"""What may change when a run is resumed."""

import pathlib
import textwrap

import numpy as np
import pytest

from reverie.config.load import load
from reverie.config.saved_runs.foreign import read_config
from reverie.config.saved_runs.resume import check_resume, compare, inherit
from reverie.config.schema import Config, with_values
from reverie.config.syntax.keys import groups, leaves
from reverie.errors import ConfigError

SAVED = load(configs=["size1m"], overrides={"logdir": "/runs/a", "task": "dmc_walker_walk"})


def resumed(**overrides) -> Config:
    return load(
        configs=["size1m"], overrides={"logdir": "/runs/a", "task": "dmc_walker_walk", **overrides}
    )


def test_equal_configurations_do_not_differ():
    assert compare(SAVED, resumed()) == []
    assert check_resume(SAVED, resumed()) == []


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("agent.dyn.deter", 1024),
        ("agent.dyn.stoch", 16),
        ("agent.dyn.absolute", True),
        ("agent.enc.simple.mults", (2, 3, 4, 5)),
        ("agent.enc.simple.strided", True),
        ("agent.dec.simple.kernel", 3),
        ("agent.dec.simple.bspace", 4),
        ("agent.policy.layers", 2),
        ("agent.value.bins", 127),
        ("agent.retnorm.impl", "meanstd"),
        ("agent.opt.momentum", False),
        ("batch_length", 32),
        ("consec_train", 2),
        ("replay_context", 0),
        ("replay.chunksize", 512),
        ("jax.compute_dtype", "bfloat16"),
        ("env.dmc.size", (96, 96)),
        ("env.dmc.image", False),
        ("env.dmc.camera", 1),
        ("env.dmc.repeat", 2),
        ("agent.contdisc", False),
        ("agent.horizon", 100),
        ("agent.policy.maxstd", 2.0),
        ("agent.retnorm.perchi", 90.0),
        ("random_agent", True),
    ],
)
def test_what_shapes_model_spaces_or_replay_must_stay(key, value):
    new = resumed(**{key: value})
    (difference,) = compare(SAVED, new)
    assert (difference.key, difference.new, difference.allowed) == (key, value, False)
    assert difference.reason
    with pytest.raises(ConfigError, match="not allowed"):
        check_resume(SAVED, new)


def test_the_number_of_shards_must_stay():
    words = ["--logdir", "/runs/a", "--script", "parallel", "--ray.replay_shards"]
    saved, new = (load([*words, number]) for number in "23")
    (difference,) = compare(saved, new)
    assert (difference.key, difference.allowed) == ("ray.replay_shards", False)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("run.steps", 5000),
        ("run.envs", 3),
        ("run.train_ratio", 64.0),
        ("run.log_every", 1.0),
        ("run.debug", True),
        ("agent.opt.lr", 1e-3),
        ("agent.imag_length", 10),
        ("agent.loss_scales.rep", 0.5),
        ("batch_size", 8),
        ("report_length", 16),
        ("replay.size", 10_000),
        ("logger.outputs", ("jsonl",)),
        ("logdir", "/runs/b"),
        ("seed", 5),
        ("script", "eval_only"),
        ("env.crafter.size", (96, 96)),
    ],
)
def test_what_only_steers_the_run_may_change(key, value):
    (difference,) = check_resume(SAVED, resumed(**{key: value}))
    assert (difference.key, difference.new, difference.allowed) == (key, value, True)
    assert str(difference).endswith("(allowed)")


def test_another_task_is_refused():
    with pytest.raises(ConfigError, match="task: saved 'dmc_walker_walk', now 'crafter_reward'"):
        check_resume(SAVED, resumed(task="crafter_reward"))


def refusal(**overrides):
    with pytest.raises(ConfigError) as caught:
        check_resume(SAVED, resumed(**overrides), "runs/a")
    return str(caught.value).splitlines()


def test_a_run_on_an_environment_from_python_goes_on_from_python():
    saved = load(["--task", "custom_Mine"])
    with pytest.raises(ConfigError, match="cannot be resumed") as caught:
        check_resume(saved, load(["--task", "my_env:Mine"]), "runs/a")
    assert "Leave out" not in str(caught.value)
    assert "same environment from Python: reverie.train(env, logdir='runs/a')" in str(caught.value)


def test_the_message_lists_every_difference_and_what_to_do():
    lines = refusal(**{"agent.dyn.deter": 1024, "run.envs": 3, "batch_length": 32})
    assert lines[0].startswith("The run in runs/a cannot be resumed")
    assert lines[1].startswith("- batch_length: saved 64, now 32 (not allowed: ")
    assert lines[2].startswith("- agent.dyn.deter: saved 512, now 1024 (not allowed: ")
    assert lines[3] == "- run.envs: saved 16, now 3 (allowed)"
    assert "reverie train --logdir runs/a." in lines[4]
    assert len(lines) == 5


def test_the_message_stays_short_when_everything_differs():
    fixed = {f"agent.{head}.units": 128 for head in ("rewhead", "conhead", "policy", "value")}
    fixed |= {"agent.dyn.hidden": 128, "agent.dyn.deter": 1024, "agent.dyn.classes": 8}
    free = {f"run.{name}": 77 for name in ("steps", "envs", "eval_envs", "eval_every", "log_every")}
    free |= {
        "seed": 1,
        "batch_size": 8,
        "report_length": 16,
        "run.save_every": 7,
        "run.debug": True,
    }
    lines = refusal(**fixed, **free)
    assert len(lines) == 10
    assert all("(not allowed: " in line for line in lines[1:7])
    assert lines[7] == "- not allowed either: agent.value.units"
    assert lines[8].startswith("- allowed: ")
    assert set(lines[8].removeprefix("- allowed: ").split(", ")) == set(free)


def test_a_configuration_read_back_from_its_file_does_not_differ(tmp_path):
    SAVED.to_yaml(tmp_path / "config.yaml")
    assert compare(read_config(tmp_path / "config.yaml"), SAVED) == []


def test_keywords_are_from_the_start_as_the_file_gives_them_back(tmp_path):
    keywords = {"shape": (2, 3), "low": np.float32(0.5), "path": pathlib.Path("x")}
    asked = {"task": "gym_CartPole-v1", "logdir": "runs/a", "env.gym.kwargs": keywords}
    config = load(overrides={**asked, "env.gym.kwargs.sides": (1, (2, 3))})
    expected = {"shape": [2, 3], "low": 0.5, "path": "x", "sides": [1, [2, 3]]}
    assert config.env.gym.kwargs == expected
    assert type(config.env.gym.kwargs["low"]) is float
    config.to_yaml(tmp_path / "config.yaml")
    assert read_config(tmp_path / "config.yaml") == config
    keywords["shape"] = (2, 4)
    (difference,) = compare(config, load(overrides=asked))
    assert difference.key == "env.gym.kwargs"


def test_keywords_that_no_file_can_hold_are_refused_by_name():
    with pytest.raises(ConfigError, match=r"env\.gym\.kwargs.*overrides.*<object .*cannot be"):
        load(overrides={"env.gym.kwargs": {"reward": object()}})


@pytest.mark.parametrize(
    ("task", "key", "value"),
    [
        ("atari_pong", "env.atari.lives", "reset"),
        ("atari_pong", "env.atari.clip_reward", True),
        ("atari100k_pong", "env.atari100k.sticky", True),
        ("atari100k_pong", "env.atari100k.noops", 0),
        ("procgen_coinrun", "env.procgen.mode", "easy"),
        ("custom_Mine", "env.gym.repeat", 2),
    ],
)
def test_another_variant_of_a_task_is_refused(task, key, value):
    saved = load(overrides={"task": task, "logdir": "/runs/a"})
    new = load(overrides={"task": task, "logdir": "/runs/a", key: value})
    with pytest.raises(ConfigError, match=rf"{key}: .*not allowed: it changes the task"):
        check_resume(saved, new)


def test_what_auto_was_is_kept():
    saved = with_values(SAVED, {"jax.compute_dtype": "bfloat16"}, "a test")
    new = inherit(saved, resumed())
    assert new.jax.compute_dtype == "bfloat16"
    assert new.jax.platform == "auto"
    assert check_resume(saved, new) == []


def free() -> str:
    """The options that may change: `section.*` where all of a section may."""
    fixed = {key for key, leaf in leaves(Config).items() if leaf.fixed}
    whole = [g for g in groups(Config) if not any(key.startswith(f"{g}.") for key in fixed)]
    lines: dict[str, list[str]] = {}
    for key in leaves(Config):
        cover = next((g for g in whole if key.startswith(f"{g}.")), "")
        section, _, name = f"{cover}.*".rpartition(".") if cover else key.rpartition(".")
        if key not in fixed and name not in lines.setdefault(section, []):
            lines[section].append(name)
    return "\n".join(
        textwrap.fill(f"{section or 'top level'}: {', '.join(names)}", 100, subsequent_indent="  ")
        for section, names in lines.items()
        if names
    )


def test_the_documented_options_are_those_that_may_change():
    document = pathlib.Path(__file__).parents[2] / "docs" / "configuration.md"
    assert f"```text\n{free()}\n```" in document.read_text(), free()
