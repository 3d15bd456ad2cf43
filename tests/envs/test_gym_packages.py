"""Ids of other packages than gymnasium run by name, wherever the package is installed."""

import importlib.metadata
import warnings

import numpy as np
import pytest

from reverie.envs.check import check
from reverie.envs.flat.conform import spaces
from reverie.envs.flat.leaves import random_actions
from reverie.envs.registry import make

TASKS = [
    ("minigrid:MiniGrid-Empty-5x5-v0", {}),
    ("minigrid:MiniGrid-DoorKey-8x8-v0", {"size": [64, 64]}),
    ("minigrid:BabyAI-GoToRedBallNoDists-v0", {}),
    ("popgym:popgym-RepeatPreviousEasy-v0", {}),
    ("popgym:popgym-ConcentrationEasy-v0", {}),
    ("popgym:popgym-PositionOnlyCartPoleEasy-v0", {}),
    ("gymnasium_robotics:PointMaze_UMaze-v3", {}),
    ("gymnasium_robotics:AdroitHandDoor-v1", {}),
    ("gymnasium_robotics:FetchReach-v4", {}),
    ("gymnasium_robotics:HandReach-v3", {}),
    ("metaworld:Meta-World/MT1", {"kwargs": {"env_name": "reach-v3"}, "bounds": "ignore"}),
    ("metaworld:Meta-World/MT1", {"kwargs": {"env_name": "door-open-v3"}, "bounds": "ignore"}),
    ("vizdoom.gymnasium_wrapper:VizdoomBasic-v1", {"size": [64, 64]}),
    ("vizdoom.gymnasium_wrapper:VizdoomHealthGathering-v1", {"size": [64, 64]}),
    ("nle:NetHackScore-v0", {}),
]

UNSEEDED = {"metaworld", "nle"}
"""Packages that ignore the seed of a reset."""


def installed(name):
    """Skips the test where the package of a task is not there, or cannot run the task."""
    module, _, task = name.partition(":")
    package = module.partition(".")[0]
    with warnings.catch_warnings():
        # Imports warn about deprecated parts of their own dependencies.
        warnings.simplefilter("ignore")
        pytest.importorskip(module)
        importlib.import_module(module)
    if package == "metaworld" or task.startswith(("Fetch", "Hand")):
        # DM Control needs a newer MuJoCo, so no installation runs everything.
        version = importlib.metadata.version("mujoco").split(".")
        if [int(part) for part in version[:2]] > [3, 3]:
            pytest.skip("needs MuJoCo 3.3, in an environment without the extra dmc")
    return package


def play(env, steps):
    """Observations, rewards and flags of a seeded run with random actions."""
    actions = random_actions(spaces(env)[1], steps, np.random.default_rng(0))
    record = [(env.reset(seed=3)[0], 0.0, False, False)]
    for index in range(steps):
        if record[-1][2] or record[-1][3]:
            record.append((env.reset()[0], 0.0, False, False))
        else:
            record.append(env.step({key: each[index] for key, each in actions.items()})[:4])
        for key, space in spaces(env)[0].items():
            value = np.asarray(record[-1][0][key])
            # Where bounds are ignored, values may lie outside.
            assert (value.shape, value.dtype) == (space.shape, space.dtype)
    return record


@pytest.fixture(autouse=True)
def own_folder(monkeypatch, tmp_path):
    """VizDoom writes a file of settings where it runs."""
    monkeypatch.chdir(tmp_path)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("name", "options"), TASKS, ids=[name for name, _ in TASKS])
def test_random_steps_stay_in_the_spaces_and_repeat_under_a_seed(name, options):
    package = installed(name)
    one, two = make(f"gym_{name}", options), make(f"gym_{name}", options)
    first, second = play(one, 100), play(two, 100)
    if package not in UNSEEDED:
        for (obs, *rest), (other, *others) in zip(first, second, strict=True):
            assert rest == others
            assert all(np.array_equal(obs[key], other[key]) for key in obs)
    for env in (one, two):
        env.close()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("minigrid:MiniGrid-Empty-5x5-v0", {"kwargs": {"max_steps": 20}}),
        ("popgym:popgym-RepeatPreviousEasy-v0", {}),
        ("gymnasium_robotics:PointMaze_UMaze-v3", {"kwargs": {"max_episode_steps": 20}}),
        (
            "metaworld:Meta-World/MT1",
            {"kwargs": {"env_name": "reach-v3"}, "repeat": 10, "bounds": "ignore"},
        ),
        ("vizdoom.gymnasium_wrapper:VizdoomBasic-v1", {"repeat": 10}),
    ],
)
def test_episodes_end(name, options):
    installed(name)
    env = make(f"gym_{name}", options)
    assert any(step[2] or step[3] for step in play(env, 100))
    env.close()


@pytest.mark.filterwarnings("ignore")
def test_the_check_knows_the_mission_and_the_small_image_of_minigrid():
    installed("minigrid:")
    task = "gym_minigrid:MiniGrid-Empty-5x5-v0"
    assert set(make(task).observation_space) == {"direction", "image"}
    found = check(task, steps=100)
    assert all(finding.level != "error" for finding in found)
    text = "\n".join(map(str, found))
    for words in (
        "'mission' is text",
        "7x7 pixels are resized",
        "'image' was brighter than 8 of 255",
    ):
        assert words in text
