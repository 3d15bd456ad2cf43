"""The named blocks of the package."""

import pytest

from reverie.config.load import load
from reverie.config.presets import presets, sizes
from reverie.config.schema import Config, unset, with_values

NAMES = [
    *("defaults", "size1m", "size12m", "size25m", "size50m", "size100m", "size200m", "size400m"),
    *("minecraft", "dmlab", "atari", "procgen", "atari100k", "crafter", "dmc_proprio"),
    *("dmc_vision", "bsuite", "loconav", "memmaze", "pinpad", "langroom"),
    *("gym", "dm", "envpool", "dmc_manip", "minigrid", "popgym", "vizdoom", "nle", "metaworld"),
    *("robotics", "multicpu", "parallel", "debug", "quickstart", "small"),
]

SIZES = {
    "size1m": (512, 64, 4, 4, 64),
    "size12m": (2048, 256, 16, 16, 256),
    "size25m": (3072, 384, 24, 24, 384),
    "size50m": (4096, 512, 32, 32, 512),
    "size100m": (6144, 768, 48, 48, 768),
    "size200m": (8192, 1024, 64, 64, 1024),
    "size400m": (12288, 1536, 96, 96, 1536),
}

RUNS = {
    "atari": ("atari_pong", 32, 16, 51_000_000),
    "atari100k": ("atari100k_pong", 256, 1, 110_000),
    "crafter": ("crafter_reward", 512, 1, 1_100_000),
    "dmc_proprio": ("dmc_walker_walk", 1024, 16, 1_100_000),
    "dmc_vision": ("dmc_walker_walk", 256, 16, 1_100_000),
    "procgen": ("procgen_coinrun", 64, 16, 110_000_000),
    "dmlab": ("dmlab_explore_goal_locations_small", 32, 16, 26_000_000),
    "bsuite": ("bsuite_catch/0", 1024, 1, 10**10),
    "minecraft": ("minecraft_diamond", 32, 16, 10**10),
    "loconav": ("loconav_ant_maze_m", 256, 16, 10**10),
}


def test_the_blocks_are_those_that_are_promised():
    assert list(presets()) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_every_block_loads_and_fits_together(name):
    config = load(configs=[name])
    assert isinstance(config, Config)
    for key in ("units", "depth", "deter"):
        # A regular expression of a block reaches the agent and nothing else.
        hits = [k for k in config.sources if k.endswith("." + key)]
        assert all(hit.startswith("agent.") for hit in hits)


def test_the_defaults_block_cannot_drift_from_the_schema():
    assert presets()["defaults"] == {}
    assert load(configs=["defaults"], overrides={"logdir": "x"}) == load(overrides={"logdir": "x"})


@pytest.mark.parametrize("name", SIZES)
def test_a_size_sets_every_width_of_the_model(name):
    agent = load(configs=[name]).agent
    deter, hidden, classes, depth, units = SIZES[name]
    assert (agent.dyn.deter, agent.dyn.hidden, agent.dyn.classes) == (deter, hidden, classes)
    assert agent.enc.simple.depth == agent.dec.simple.depth == depth
    parts = (agent.enc.simple, agent.dec.simple, agent.rewhead, agent.conhead)
    assert {part.units for part in (*parts, agent.policy, agent.value)} == {units}
    assert (agent.dyn.stoch, agent.dyn.blocks) == (32, 8)


def test_the_schema_has_the_published_size():
    assert load(configs=["size200m"]).agent == Config().agent


def test_all_sizes_set_the_same_options_and_no_others_are_left_to_the_run():
    keys = [*sizes()["size1m"]]
    assert all([*values] == keys for values in sizes().values())
    assert [*sizes()] == [*SIZES]
    assert unset(load(), keys) == keys
    for name in ("quickstart", "debug", "dmc_proprio", "size12m", "bsuite"):
        assert not unset(load(configs=[name]), keys)
    for name in ("crafter", "atari", "dmc_vision"):
        assert unset(load(configs=[name]), keys) == keys
    chosen = with_values(load(["--seed", "3"]), sizes()["size12m"], "a test")
    assert chosen.agent == load(configs="size12m").agent
    assert (chosen.seed, chosen.sources["seed"]) == (3, "flag --seed")
    assert not unset(chosen, keys)


@pytest.mark.parametrize("name", RUNS)
def test_a_benchmark_has_the_published_protocol(name):
    config = load(configs=[name])
    task, ratio, envs, steps = RUNS[name]
    assert (config.task, config.run.train_ratio) == (task, ratio)
    assert (config.run.envs, config.run.steps) == (envs, steps)
    assert (config.batch_size, config.batch_length) == (16, 64)


def test_dmc_blocks_choose_what_is_observed():
    proprio, vision = load(configs=["dmc_proprio"]), load(configs=["dmc_vision"])
    assert (proprio.env.dmc.image, proprio.env.dmc.proprio) == (False, True)
    assert (vision.env.dmc.image, vision.env.dmc.proprio) == (True, False)
    assert proprio.agent == load(configs=["size1m"]).agent


def test_a_size_after_a_benchmark_wins():
    assert load(configs=["dmc_proprio", "size12m"]).agent.dyn.deter == 2048


def test_suites_have_the_settings_of_published_scores():
    env = Config().env
    assert (env.atari.size, env.atari.gray, env.atari.sticky) == ((96, 96), True, True)
    assert (env.atari100k.size, env.atari100k.gray, env.atari100k.sticky) == (
        (64, 64),
        False,
        False,
    )
    assert (env.atari.actions, env.atari100k.actions) == ("all", "needed")
    assert (env.atari.repeat, env.dmlab.repeat, env.dmc.repeat) == (4, 4, 1)


def test_debug_fits_seconds_and_quickstart_is_cartpole():
    debug = load(configs=["debug"])
    assert debug.agent.dyn.deter <= 64
    assert debug.batch_size * debug.batch_length <= 40
    assert debug.run.log_every <= 5
    assert load(configs=["crafter", "debug"]).agent.value.units == 16
    assert load(configs=["quickstart"]).task == "gym_CartPole-v1"


def test_small_differs_from_the_paper_in_size_speed_and_the_weight_of_vectors_alone():
    small, paper = load(configs=["small"]), load(configs=["size1m"])
    assert small.task == paper.task
    same = ("imag_loss", "repl_loss", "retnorm", "slowvalue", "horizon")
    for key in (*same, "contdisc", "imag_length"):
        assert getattr(small.agent, key) == getattr(paper.agent, key)
    scales = paper.agent.loss_scales.model_copy(update={"vec": 10.0})
    assert small.agent.loss_scales == scales
    changed = {"lr": 3e-4, "warmup": 100}
    assert small.agent.opt == paper.agent.opt.model_copy(update=changed)
    assert small.agent.dyn.deter < paper.agent.dyn.deter


def test_multicpu_has_a_device_for_each_use():
    jax = load(configs=["multicpu"]).jax
    assert (jax.platform, jax.mock_devices) == ("cpu", 4)
    assert {*jax.devices, jax.policy_device} == {0, 1, 2, 3}
