"""Task names, options and what is said when they are wrong."""

import importlib.util
import pathlib
import re
import sys
import tomllib
import types

import gymnasium
import numpy as np
import pytest

from reverie.catalog import SUITES
from reverie.envs.errors import MissingPackageError, OptionError, UnknownTaskError
from reverie.envs.flat.conform import is_wrapped
from reverie.envs.registry import factory_of, make, split, tasks
from reverie.envs.suites.gym import PACKAGES
from reverie.errors import ConfigError

HEAVY = {"bsuite", "envpool", "langroom", "memmaze", "procgen"}
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
        ("dummy_discrete", ["dummy_disc", "dummy_cont"]),
    ],
)
def test_unknown_tasks_name_the_nearest(task, words):
    with pytest.raises(UnknownTaskError) as error:
        make(task)
    for word in words:
        assert word in str(error.value)


def test_an_option_says_what_it_expects():
    with pytest.raises(OptionError, match=r"env.gym.size = \[64\]: expected two integers"):
        make("gym_CartPole-v1", {"size": [64]})


def test_unknown_options_name_the_nearest():
    with pytest.raises(TypeError, match=r"env\.dummy\.lenght.*'length'.*length, size"):
        make("dummy_disc", {"lenght": 3})


@pytest.mark.parametrize("name", [name for name, suite in SUITES.items() if suite.install])
def test_a_missing_package_says_how_to_install_it(name, monkeypatch):
    suite, real = SUITES[name], importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *rest: None if name == suite.package else real(name, *rest),
    )
    with pytest.raises(MissingPackageError) as error:
        make(f"{name}_task")
    assert str(error.value).endswith(suite.install)
    assert "pip install" in suite.install or name in BUILT
    assert "\n" not in str(error.value)
    assert not suite.installed
    assert SUITES["gym"].installed


def test_installation_commands_name_extras_of_this_project():
    project = pathlib.Path(__file__).parents[2] / "pyproject.toml"
    extras = set(tomllib.loads(project.read_text())["project"]["optional-dependencies"])
    commands = [suite.install for suite in SUITES.values()] + list(PACKAGES.values())
    named = {name for command in commands for name in re.findall(r"'\.\[(\w+)\]'", command)}
    assert {"dmc", "minigrid", "robotics"} <= named <= extras


def test_a_broken_package_says_so_too(monkeypatch):
    monkeypatch.delitem(sys.modules, "reverie.envs.suites.crafter", raising=False)
    monkeypatch.setitem(sys.modules, "crafter", None)
    monkeypatch.setattr(type(SUITES["crafter"]), "installed", True)
    with pytest.raises(MissingPackageError, match=r"crafter.*pip install .*'\.\[crafter\]'"):
        make("crafter_reward")


def test_a_missing_part_of_gymnasium_names_our_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "Box2D", None)
    for name in [key for key in sys.modules if key.startswith("gymnasium.envs.box2d")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(MissingPackageError, match=r"pip install .*'\.\[box2d\]'"):
        make("gym_LunarLander-v3")


@pytest.mark.parametrize("module", sorted(PACKAGES))
def test_a_missing_package_of_gymnasium_ids_says_how_to_install_it(module, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingPackageError) as error:
        make(f"gym_{module}:Some-v0")
    assert str(error.value).endswith(f"{module}: {PACKAGES[module]}")


class Sized(gymnasium.Env):
    def __init__(self, size):
        self.size = len(size)


@pytest.mark.parametrize(
    ("task", "kwargs", "reason"),
    [
        ("gym_CartPole-v1", {"nope": 3}, "unexpected keyword argument 'nope'"),
        ("own_zoo:Sized", {}, "missing 1 required positional argument: 'size'"),
    ],
)
def test_arguments_that_an_environment_does_not_take_are_told(monkeypatch, task, kwargs, reason):
    monkeypatch.setitem(sys.modules, "own_zoo", sys.modules[__name__])
    with pytest.raises(
        OptionError, match=f"env.gym.kwargs is {kwargs}, but .*: .*{reason}"
    ) as caught:
        make(task, {"kwargs": kwargs})
    assert "--env.gym.kwargs.NAME VALUE" in str(caught.value)


def test_an_error_inside_of_a_constructor_stays_what_it_is(monkeypatch):
    monkeypatch.setitem(sys.modules, "own_zoo", sys.modules[__name__])
    with pytest.raises(TypeError, match="has no len"):
        make("own_zoo:Sized", {"kwargs": {"size": 3}})


def test_a_wrapper_that_its_module_cannot_import_is_told(monkeypatch):
    def absent(name):
        raise ModuleNotFoundError("No module named 'torch'", name="torch")

    lazy = types.ModuleType("lazy")
    monkeypatch.setattr(lazy, "__getattr__", absent, raising=False)
    monkeypatch.setitem(sys.modules, "lazy", lazy)
    with pytest.raises(ConfigError, match=r"env.gym.wrappers: cannot load .*named 'torch'"):
        make("gym_CartPole-v1", {"wrappers": ["lazy:Thing"]})


def test_a_made_environment_is_wrapped_and_seeded_by_its_resets():
    envs = make("gym_CartPole-v1"), make("gym_CartPole-v1")
    assert all(map(is_wrapped, envs))
    first, again = (env.reset(seed=1)[0]["obs"] for env in envs)
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, envs[0].reset()[0]["obs"])


def test_a_factory_of_a_task_can_be_sent_to_other_processes():
    import pickle

    factory = pickle.loads(pickle.dumps(factory_of("dummy_cont", {"length": 3})))
    assert factory().reset()[0]["count"] == 0


@pytest.mark.parametrize("suite", list(SUITES))
def test_every_suite_is_installed_for_the_tests_and_lists_its_tasks(suite):
    if suite in HEAVY | BUILT and not SUITES[suite].installed:
        pytest.skip(SUITES[suite].install)
    assert SUITES[suite].installed
    assert len(tasks(suite)) >= 2


@pytest.mark.filterwarnings("ignore:.*out of date:DeprecationWarning")
def test_an_id_that_was_replaced_names_its_successor(monkeypatch):
    monkeypatch.setattr(gymnasium.envs.registration, "registry", {})
    gymnasium.register("Renewed-v2", "gymnasium.envs.classic_control:CartPoleEnv")
    with pytest.raises(UnknownTaskError, match="Renewed-v2"):
        make("gym_Renewed-v1")


def test_gymnasium_ids_can_come_from_another_module(tmp_path, monkeypatch):
    (tmp_path / "added_envs.py").write_text(
        "import gymnasium\n"
        "from gymnasium.envs.classic_control import CartPoleEnv\n"
        "gymnasium.register('Added-v0', CartPoleEnv, max_episode_steps=7)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    env = make("gym_added_envs:Added-v0")
    assert env.spec.max_episode_steps == 7


def test_the_file_of_a_module_is_no_module(tmp_path, monkeypatch):
    (tmp_path / "own_games.py").write_text("class Own:\n    pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UnknownTaskError, match=r"Leave out \.py"):
        make("own_games.py:Own")
