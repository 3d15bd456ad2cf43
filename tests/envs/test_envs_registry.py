"""Task names, options and what is said when they are wrong."""

import importlib.util
import sys

import gymnasium
import numpy as np
import pytest

from reverie.envs import (
    SUITES,
    MissingPackageError,
    UnknownTaskError,
    factory_of,
    is_wrapped,
    make,
    spaces_of,
    split,
    tasks,
)
from reverie.spaces import Space

HEAVY = {"bsuite", "langroom", "memmaze", "procgen"}
"""Suites that `make test-envs` installs and `make test` does not."""

BUILT = {"dmlab", "minecraft"}
"""Suites whose engine has to be built from source: their own tests run them on a stand-in."""


@pytest.mark.parametrize(
    ("task", "suite", "name"),
    [
        ("gym_CartPole-v1", "gym", "CartPole-v1"),
        ("gym_my_module:My_Env-v0", "gym", "my_module:My_Env-v0"),
        ("dmc_ball_in_cup_catch", "dmc", "ball_in_cup_catch"),
        ("crafter_reward", "crafter", "reward"),
    ],
)
def test_tasks_are_split_at_the_first_underscore(task, suite, name):
    assert split(task) == (SUITES[suite], name)


@pytest.mark.parametrize(
    ("task", "words"),
    [
        ("crater_reward", ["'crater_reward'", "crafter", "suite_name"]),
        ("walker_walk", ["no known suite", "dmc"]),
        ("CartPole-v1", ["'gym_CartPole-v1'"]),
        ("dummy", ["dummy_disc"]),
        ("dummy_", ["dummy_disc"]),
        ("", ["no known suite"]),
        ("gym_CartPoles-v1", ["gym_CartPole-v1"]),
        ("gym_nowhere_at_all:Id-v0", ["nowhere_at_all"]),
        ("dmc_walker_wlak", ["dmc_walker_walk"]),
        ("crafter_rewards", ["crafter_reward"]),
        ("dummy_discrete", ["'disc'"]),
    ],
)
def test_unknown_tasks_name_the_nearest(task, words):
    with pytest.raises(UnknownTaskError) as error:
        make(task)
    for word in words:
        assert word in str(error.value)


def test_unknown_options_name_the_nearest():
    with pytest.raises(TypeError, match=r"env\.dummy\.lenght.*'length'.*length, size"):
        make("dummy_disc", {"lenght": 3})


def test_a_missing_package_says_how_to_install_it(monkeypatch):
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *rest: None if name == "dm_control" else real(name, *rest),
    )
    with pytest.raises(MissingPackageError) as error:
        make("dmc_walker_walk")
    assert "pip install 'reverie[dmc]'" in str(error.value)
    assert "\n" not in str(error.value)
    assert not SUITES["dmc"].installed
    assert SUITES["crafter"].installed


def test_a_broken_package_says_so_too(monkeypatch):
    monkeypatch.delitem(sys.modules, "reverie.envs.suites.crafter", raising=False)
    monkeypatch.setitem(sys.modules, "crafter", None)
    monkeypatch.setattr(type(SUITES["crafter"]), "installed", True)
    with pytest.raises(MissingPackageError, match=r"crafter.*pip install 'reverie\[crafter\]'"):
        make("crafter_reward")


def test_a_missing_part_of_gymnasium_names_our_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "Box2D", None)
    for name in [key for key in sys.modules if key.startswith("gymnasium.envs.box2d")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(MissingPackageError, match=r"pip install 'reverie\[box2d\]'"):
        make("gym_LunarLander-v3")


def test_spaces_come_from_an_environment_that_is_closed():
    closed = []

    class Watched(gymnasium.Env):
        observation_space = gymnasium.spaces.Discrete(3)
        action_space = gymnasium.spaces.Discrete(2)

        def close(self):
            closed.append(self)

    obs, act = spaces_of(Watched)
    assert obs == {"obs": Space("discrete", (), "int32", (3,))}
    assert act == {"action": Space("discrete", (), "int32", (2,))}
    assert len(closed) == 1
    assert spaces_of("dummy_disc", {"size": [16, 8]})[0]["image"].shape == (16, 8, 3)


def test_a_made_environment_is_wrapped_and_seeded_by_run_and_index():
    def first(**arguments):
        env = make("gym_CartPole-v1", **arguments)
        assert is_wrapped(env)
        return env.reset()[0]["obs"]

    np.testing.assert_array_equal(first(seed=1, index=2), first(seed=1, index=2))
    assert not np.array_equal(first(seed=1, index=2), first(seed=1, index=3))
    assert not np.array_equal(first(seed=1, index=2), first(seed=2, index=2))


def test_only_the_first_reset_is_seeded():
    env = make("gym_CartPole-v1")
    assert not np.array_equal(env.reset()[0]["obs"], env.reset()[0]["obs"])


def test_a_factory_of_a_task_can_be_sent_to_other_processes():
    import pickle

    factory = pickle.loads(pickle.dumps(factory_of("dummy_cont", {"length": 3}, index=1, seed=2)))
    assert factory().reset()[0]["count"] == 0


@pytest.mark.parametrize("suite", list(SUITES))
def test_every_suite_is_installed_for_the_tests_and_lists_its_tasks(suite):
    if suite in HEAVY | BUILT and not SUITES[suite].installed:
        pytest.skip(SUITES[suite].install)
    assert SUITES[suite].installed
    assert len(tasks(suite)) >= 2


def test_gymnasium_ids_can_come_from_another_module(tmp_path, monkeypatch):
    (tmp_path / "added_envs.py").write_text(
        "import gymnasium\n"
        "from gymnasium.envs.classic_control import CartPoleEnv\n"
        "gymnasium.register('Added-v0', CartPoleEnv, max_episode_steps=7)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    env = make("gym_added_envs:Added-v0")
    assert env.spec.max_episode_steps == 7
