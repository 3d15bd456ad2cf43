"""`reverie envs` and `reverie envs check`."""

import gymnasium
import numpy as np
import pytest

from reverie import cli
from reverie.catalog import SUITES
from reverie.envs.registry import full_name


class NotANumber(gymnasium.Env):
    observation_space = gymnasium.spaces.Box(-1, 1, (2,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(2, np.float32), {}

    def step(self, action):
        return np.full(2, np.nan, np.float32), 0.0, False, False, {}


class SmallImages(gymnasium.Env):
    observation_space = gymnasium.spaces.Box(0, 255, (40, 40, 3), np.uint8)
    action_space = gymnasium.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros((40, 40, 3), np.uint8), {}

    def step(self, action):
        return np.zeros((40, 40, 3), np.uint8), 0.0, False, False, {}


@pytest.fixture
def small_images():
    gymnasium.register("Small-v0", SmallImages)
    yield "Small-v0"
    del gymnasium.registry["Small-v0"]


@pytest.fixture
def broken_id():
    gymnasium.register("Broken-v0", NotANumber)
    yield "Broken-v0"
    del gymnasium.registry["Broken-v0"]


def test_all_suites_are_listed_with_what_installs_them(capsys, monkeypatch):
    monkeypatch.setattr(type(SUITES["gym"]), "installed", property(lambda suite: not suite.extra))
    assert cli.main(["envs"]) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in SUITES)
    assert "dummy_disc" in out
    assert "pip install -c constraints.txt -e '.[crafter]'" in out


@pytest.mark.parametrize("task", ["CartPole-v1", "gym_CartPole-v1"])
def test_a_sound_environment_passes(capsys, task):
    assert cli.main(["envs", "check", task, "--steps", "100"]) == 0
    assert "gym_CartPole-v1 can be trained on." in capsys.readouterr().out


def test_a_broken_environment_fails_and_is_explained(capsys, broken_id):
    assert cli.main(["envs", "check", broken_id]) == 1
    out = capsys.readouterr().out
    assert "error:" in out
    assert "nan" in out.lower()
    assert f"gym_{broken_id} cannot be trained on yet." in out


def test_images_have_a_size_that_the_agent_takes(capsys, small_images):
    words = ["envs", "check", small_images, "--steps", "100"]
    assert cli.main(words) == 0
    out = capsys.readouterr().out
    assert "note: Images of 40x40 pixels are resized to 48x48" in out
    assert "env.gym.size" in out
    assert cli.main([*words, "--env.gym.size", "64", "64"]) == 0
    fewer = ["--agent.enc.simple.mults", "[2,3,4]", "--agent.dec.simple.mults", "[2,3,4]"]
    assert cli.main([*words, *fewer]) == 0
    assert "resized" not in capsys.readouterr().out


def test_a_task_that_does_not_exist_fails(capsys):
    assert cli.main(["envs", "check", "gym_NoSuch-v0"]) == 1
    assert "error: gymnasium knows no environment 'NoSuch-v0'" in capsys.readouterr().out


def test_an_option_that_does_not_fit_is_explained_without_a_traceback(
    capsys, tmp_path, monkeypatch
):
    (tmp_path / "picky.py").write_text(
        "from reverie.envs.errors import OptionError\n"
        "def make(room):\n"
        "    raise OptionError(f'env.gym.kwargs holds room {room}, which is closed.')\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    room = ["--env.gym.kwargs.room", "3"]
    words = ["train", "--random_agent", "true", "--task", "picky:make", *room]
    words += ["--run.envs", "2", "--run.env_backend", "async", "--logdir", str(tmp_path / "run")]
    assert cli.main(words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("reverie: ")
    assert "OptionError: env.gym.kwargs holds room 3" in line
    assert not (tmp_path / "run").exists()
    assert cli.main(["envs", "check", "picky:make", *room]) == 1
    assert "error: env.gym.kwargs holds room 3" in capsys.readouterr().out


def test_options_of_the_suite_reach_the_environment(capsys):
    words = ["envs", "check", "dummy_disc", "--steps", "100", "--env.dummy.length"]
    for length, ends in (("20", True), ("300", False)):
        assert cli.main([*words, length]) == 0
        assert ("No episode ended" in capsys.readouterr().out) is not ends


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["check"], "needs a task"),
        (["check", "nosuch_task"], "starts with no known suite"),
        (["check", "CartPole-v1", "--steps", "many"], "--steps is many"),
        (["chek"], "does not know chek"),
    ],
)
def test_mistakes_are_explained_in_one_line(capsys, words, message):
    assert cli.main(["envs", *words]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1


def test_bare_ids_belong_to_the_gym_suite():
    assert full_name("CartPole-v1") == "gym_CartPole-v1"
    assert full_name("some_module:Env-v0") == "gym_some_module:Env-v0"
    assert full_name("gym_some_module:Env-v0") == "gym_some_module:Env-v0"
    assert full_name("dmc_walker_walk") == "dmc_walker_walk"
    assert full_name("nothing") == "nothing"
    assert full_name("CartPole-v99") == "gym_CartPole-v99"
    assert full_name("envpool_Pong-v99") == "envpool_Pong-v99"


def test_a_bare_id_of_another_version_names_the_one_there_is(capsys):
    assert cli.main(["envs", "check", "CartPole-v99"]) == 1
    assert "Did you mean gym_CartPole-v1" in capsys.readouterr().out


def test_what_is_registered_under_the_whole_name_wins(monkeypatch):
    names = ("gym_examples/Grid-v0", "dm_maze/Small-v0", "dummy_disc")
    for name in names:
        monkeypatch.setitem(gymnasium.registry, name, gymnasium.spec("CartPole-v1"))
        assert full_name(name) == f"gym_{name}"
    assert full_name("own_env:Target") == "own_env:Target"
    assert full_name("own_env:Target-v0") == "gym_own_env:Target-v0"


def test_modules_whose_names_begin_like_a_suite_are_found(tmp_path, monkeypatch):
    (tmp_path / "gym_examples.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert full_name("gym_examples:Grid-v0") == "gym_gym_examples:Grid-v0"
    assert full_name("gym_minigrid:MiniGrid-v0") == "gym_minigrid:MiniGrid-v0"
