"""EnvPool: kinds of spaces, ends of episodes, seeds, arguments, errors."""

import itertools

import gymnasium
import numpy as np
import pytest

pytest.importorskip("envpool")

from reverie.config.load import load
from reverie.envs.check import check
from reverie.envs.errors import MissingPackageError, SpaceError, UnknownTaskError
from reverie.envs.flat.conform import spaces
from reverie.envs.flat.leaves import random_actions
from reverie.envs.images import resize
from reverie.envs.registry import factory_of, make, make_vec, tasks
from reverie.envs.vector.vector import VectorEnv
from reverie.run.environments.source import EnvSource
from reverie.run.parts.build import vector_env


def vector(name, num, seed=0, **kwargs):
    options = {"kwargs": kwargs}
    engine = make_vec(f"envpool_{name}", num, options, seed=seed)
    single = factory_of(f"envpool_{name}", options)
    return VectorEnv([single] * num, "native", seed, engine=engine)


def play(envs, steps, rng=0):
    rng = np.random.default_rng(rng)
    record = [envs.reset()]
    for _ in range(steps):
        record.append(envs.step(random_actions(envs.act_space, envs.num_envs, rng)))
    return record


def same(one, two):
    return all(np.array_equal(a[key], b[key]) for a, b in zip(one, two, strict=True) for key in a)


@pytest.mark.parametrize(
    ("name", "kwargs", "observations"),
    [
        ("CartPole-v1", {}, {"obs": ("float32", (4,))}),
        ("FrozenLake-v1", {}, {"obs": ("int32", ())}),
        ("Pendulum-v1", {}, {"obs": ("float32", (3,))}),
        ("Ant-v4", {}, {"obs": ("float32", (27,))}),
        (
            "WalkerWalk-v1",
            {"max_episode_steps": 50},
            {
                "height": ("float32", ()),
                "orientations": ("float32", (14,)),
                "velocity": ("float32", (9,)),
            },
        ),
        (
            "MiniGrid-DoorKey-5x5-v0",
            {"max_episode_steps": 20},
            {
                "direction": ("int32", ()),
                "image": ("uint8", (7, 7, 3)),
                "mission": ("float32", (96,)),
            },
        ),
        ("Pong-v5", {"stack_num": 1, "max_episode_steps": 30}, {"image": ("uint8", (84, 84, 1))}),
    ],
)
def test_random_steps_stay_in_the_spaces_and_repeat_under_a_seed(name, kwargs, observations):
    with vector(name, 3, **kwargs) as envs:
        assert (envs.obs_space, envs.act_space) == spaces(
            make(f"envpool_{name}", {"kwargs": kwargs})
        )
        record = play(envs, 100)
        assert same(record, play(envs, 100))
    found = {key: (each.dtype, each.shape) for key, each in envs.obs_space.items()}
    assert found == observations
    for before, step in itertools.pairwise(record):
        np.testing.assert_array_equal(step["is_first"], before["is_last"])
        assert not step["reward"][step["is_first"]].any()
        for key, space in envs.obs_space.items():
            assert step[key].shape == (3, *space.shape)
            assert step[key].dtype == space.dtype
    with vector(name, 3, seed=1, **kwargs) as envs:
        assert not same(record, play(envs, 100))


def test_images_can_be_resized():
    options = {"kwargs": {"stack_num": 2}, "size": (48, 64)}
    engine = make_vec("envpool_Pong-v5", 1, options)
    assert engine.single_observation_space["image"].shape == (48, 64, 2)
    native, _ = engine.reset(seed=[3])
    plain, _ = make_vec("envpool_Pong-v5", 1, {"kwargs": {"stack_num": 2}}).reset(seed=[3])
    np.testing.assert_array_equal(native["image"][0], resize(plain["image"][0], (48, 64)))
    found = check("envpool_Pong-v5", options, steps=100)
    assert all(finding.level == "note" for finding in found)


def test_termination_and_time_limit():
    with vector("CartPole-v1", 2, max_episode_steps=12) as envs:
        envs.reset()
        # Pushing to one side ends after 8 to 11 steps; pushing to and fro does not.
        record = [envs.step({"action": np.int32([0, step % 2])}) for step in range(26)]
    ends = [np.flatnonzero([step["is_last"][env] for step in record]) for env in (0, 1)]
    assert 7 <= ends[0][0] <= 10
    assert all(record[step]["is_terminal"][0] for step in ends[0])
    # Twelve steps, one to start the next episode, twelve steps.
    assert ends[1].tolist() == [11, 24]
    assert not any(step["is_terminal"][1] for step in record)
    rewards = [step["reward"][1] for step in record]
    assert rewards == [1] * 12 + [0] + [1] * 12 + [0]


def test_environments_are_seeded_one_by_one():
    with vector("CartPole-v1", 4) as envs:
        several = envs.reset()["obs"]
    with vector("CartPole-v1", 2) as envs:
        np.testing.assert_array_equal(envs.reset()["obs"], several[:2])
    assert len({obs.tobytes() for obs in several}) == 4


def test_images_are_height_by_width_by_channels():
    import envpool

    def image(**kwargs):
        with vector("Pong-v5", 1, use_fire_reset=False, noop_max=1, **kwargs) as envs:
            return envs.reset()["image"][0]

    gray = image(stack_num=1)
    pool = envpool.make("Pong-v5", "gymnasium", num_envs=1, use_fire_reset=False, noop_max=1)
    np.testing.assert_array_equal(gray[:, :, 0], pool.reset()[0][0, -1])
    assert image().shape == (84, 84, 4)
    assert image(gray_scale=False, stack_num=1, img_height=64, img_width=96).shape == (64, 96, 3)


def test_one_environment_alone():
    env = make("envpool_CartPole-v1", {"kwargs": {"max_episode_steps": 5}})
    first = env.reset(seed=1)[0]["obs"]
    flags = [env.step({"action": np.int32(step % 2)})[2:4] for step in range(5)]
    assert flags == [(False, False)] * 4 + [(False, True)]
    assert not np.array_equal(env.reset()[0]["obs"], first)
    np.testing.assert_array_equal(env.reset(seed=1)[0]["obs"], first)
    with pytest.raises(gymnasium.error.ResetNeeded, match="Call reset"):
        make("envpool_CartPole-v1").unwrapped.step(0)
    env.close()


@pytest.mark.parametrize("name", ["CartPole-v1", "FrozenLake-v1", "HopperHop-v1"])
def test_the_check_finds_no_fault(name):
    found = check(f"envpool_{name}", steps=150)
    assert [str(each) for each in found if each.level != "note"] == []


def test_the_configuration_reaches_the_environments_and_films_them():
    words = ["--task", "envpool_CartPole-v1", "--run.envs", "2"]
    config = load([*words, "--env.envpool.kwargs", "{max_episode_steps: 3}"])
    with vector_env(EnvSource(config.task, config.env), config.run, 0) as envs:
        assert envs.backend == "native"
        ends = [step["is_last"].tolist() for step in play(envs, 4)]
    assert ends == [[False] * 2] * 3 + [[True] * 2] + [[False] * 2]
    with vector_env(EnvSource(config.task, config.env, filmed=True), config.run, 0) as envs:
        assert envs.backend != "native"
        assert envs.reset()["log/video"].shape == (2, 400, 600, 3)


def test_mistakes_are_explained():
    assert len(tasks("envpool")) > 1000
    with pytest.raises(UnknownTaskError, match="Did you mean envpool_Pong-v5"):
        make("envpool_Pongg-v5")
    with pytest.raises(ValueError, match=r"kwargs does not fit envpool_Pong-v5.*'stack'"):
        make("envpool_Pong-v5", {"kwargs": {"stack": 1}})
    with pytest.raises(ValueError, match=r"kwargs holds 'num_envs', which Reverie sets"):
        make("envpool_Pong-v5", {"kwargs": {"num_envs": 2}})
    with pytest.raises(SpaceError, match="envpool_KuhnPoker-v1 is for 2 players"):
        make_vec("envpool_KuhnPoker-v1", 2)


def test_missing_libraries_of_the_system_are_named(monkeypatch):
    from reverie.envs.suites import envpool

    def fail(*_, **__):
        raise ImportError("libQt5Gui.so.5: cannot open shared object file")

    monkeypatch.setattr(envpool.pools, "make_spec", fail)
    with pytest.raises(MissingPackageError, match="envpool_CoinrunHard-v0 cannot run here: libQt5"):
        make("envpool_CoinrunHard-v0")
