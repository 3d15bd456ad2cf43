"""Every kind of space from the environment to two updates, and what cannot be used."""

import sys

import cloudpickle
import gymnasium
import numpy as np
import pytest
from gymnasium import spaces as gs

import reverie
from reverie.config.load import load
from reverie.envs.errors import SpaceError, ValueMismatchError
from reverie.errors import ConfigError
from reverie.run.environments.source import EnvSource
from reverie.track.sinks.jsonl import read_jsonl

# Environment processes cannot import test modules.
cloudpickle.register_pickle_by_value(sys.modules[__name__])

INF = np.inf
REWARDS = (np.float64(0.5), 1, np.array(0.25), True, np.float64(1e-300))

EVERYTHING = gs.Dict(
    {
        "scalar": gs.Box(-1, 1, ()),
        "rank5": gs.Box(-1, 1, (2, 1, 2, 1, 2), np.float64),
        "half": gs.Box(0, 5, (2,), np.float16),
        "integers": gs.Box(-5, 10**12, (2,), np.int64),
        "bytes": gs.Box(0, 255, (2, 3), np.uint8),
        "bools": gs.Box(0, 1, (2, 2), bool),
        "unbounded": gs.Box(-INF, INF, (3,), np.float64),
        "start": gs.Discrete(4, start=-2),
        "multi": gs.MultiDiscrete([[2, 5], [3, 4]], start=[[1, 0], [-2, 0]]),
        "bits": gs.MultiBinary([2, 2]),
        "deep": gs.Dict({"er": gs.Tuple((gs.Discrete(2), gs.Dict({"box": gs.Box(-1, 1, (1,))})))}),
        "nothing": gs.Box(-1, 1, (0,)),
        "image": gs.Box(0, 255, (16, 16, 3), np.uint8),
    }
)
HYBRID = gs.Dict(
    {
        "choice": gs.Discrete(3, start=5),
        "choices": gs.MultiDiscrete([[2, 3], [4, 1]]),
        "switches": gs.MultiBinary(2),
        "force": gs.Box(-2.0, 4.0, (2, 1), np.float64),
        "free": gs.Box(-INF, INF, (2,)),
        "partly": gs.Box(np.array([0, -INF], np.float32), np.array([INF, 3], np.float32)),
        "level": gs.Box(0, 10, (), np.int64),
        "pair": gs.Tuple((gs.Discrete(2), gs.Dict({"x": gs.Box(0, 1, (1,))}))),
    }
)
IMAGES = gs.Dict(
    {
        "left": gs.Box(0, 255, (48, 64, 7), np.uint8),
        "right": gs.Box(0, 255, (48, 64, 1), np.uint8),
        "speed": gs.Box(-1, 1, (2,)),
    }
)
SIZES = gs.Tuple(
    (gs.Box(0, 255, (84, 84, 3), np.uint8), gs.Box(10, 200, (17, 33, 1), np.uint8), gs.Discrete(2))
)
SCALARS = gs.Box(-1, 1, ()), gs.Box(-2, 3, (), np.float64)


class Sampled(gymnasium.Env):
    """Draws observations out of a space, and refuses actions that are not in theirs."""

    def __init__(self, observation_space, action_space, nan_at=None):
        self.observation_space = observation_space
        self.action_space = action_space
        self._nan_at = nan_at

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.observation_space.seed(seed)
        self._time = 0
        return self.observation_space.sample(), {}

    def step(self, action):
        if not self.action_space.contains(action):
            raise ValueError(f"{action} is not in {self.action_space}")
        self._time += 1
        obs = self.observation_space.sample()
        if self._time == self._nan_at:
            obs["deep"]["er"][1]["box"][0] = np.nan
        reward = REWARDS[self._time % len(REWARDS)]
        return obs, reward, self._time >= 7, False, {}


@pytest.fixture
def train(cache, tmp_path):
    """Trains the debug agent for two updates."""

    def run(*spaces, nan_at=None, **options):
        return reverie.train(
            lambda: Sampled(*spaces, nan_at=nan_at),
            configs="debug",
            logdir=str(tmp_path),
            **{"run.steps": 20, "run.report_every": 0, "run.save_every": 0},
            **{"jax.cache_dir": cache, "logger.outputs": ["jsonl"]},
            **options,
        )

    return run


@pytest.mark.parametrize(
    ("observation", "action", "options"),
    [
        pytest.param(
            EVERYTHING,
            HYBRID,
            {"agent.enc.simple.mults": [2, 2], "agent.dec.simple.mults": [2, 2]},
            id="everything",
        ),
        pytest.param(IMAGES, gs.Discrete(1), {}, id="images", marks=pytest.mark.slow),
        pytest.param(
            SIZES,
            gs.Tuple((gs.MultiBinary(2),)),
            {"env.gym.size": [48, 64]},
            id="resized",
            marks=pytest.mark.slow,
        ),
        pytest.param(*SCALARS, {}, id="scalars", marks=pytest.mark.slow),
    ],
)
def test_two_updates_on(train, tmp_path, observation, action, options):
    assert train(observation, action, **options).updates == 2
    names = set().union(*read_jsonl(tmp_path / "metrics.jsonl"))
    if observation is EVERYTHING:
        assert {"train/loss/rec/image", "train/loss/rec/deep/er/1/box"} <= names


def test_all_of_them_cross_processes(train):
    options = {"run.env_backend": "async", "random_agent": True}
    assert train(EVERYTHING, HYBRID, **options).steps == 20


def test_an_agent_acts_on_a_number_with_a_number(train):
    assert train(*SCALARS, **{"run.train_ratio": 0}).steps == 20


def test_nan_names_environment_key_and_step(train):
    with pytest.raises(ValueMismatchError, match=r"Sampled, step 3 .*'deep/er/1/box' is NaN"):
        train(EVERYTHING, HYBRID, nan_at=3, random_agent=True)


@pytest.mark.parametrize("space", [gs.Text(3), gs.Sequence(gs.Discrete(2))])
def test_spaces_that_cannot_be_used_leave_no_folder(train, tmp_path, space):
    with pytest.raises(SpaceError, match=rf"Sampled: .*'words'.*{type(space).__name__}"):
        train(gs.Dict({"words": space}), gs.Discrete(2))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("shapes", [[(84, 84, 3)], [(64, 64, 3), (48, 64, 3)]])
def test_a_size_that_does_not_fit_is_refused_by_its_option(train, shapes):
    space = gs.Dict({f"image{i}": gs.Box(0, 255, s, np.uint8) for i, s in enumerate(shapes)})
    with pytest.raises(ConfigError, match=r"env\.gym\.size is 84x84 .*48\.\.256"):
        train(space, gs.Discrete(2), **{"env.gym.size": [84, 84]})


def test_images_of_other_sizes_are_resized_to_one_that_fits():
    space = gs.Dict({"a": gs.Box(0, 255, (84, 84, 3), np.uint8)})
    config = load(configs="debug", overrides={"task": "custom_Sampled"})
    source = EnvSource(config.task, config.env, lambda: Sampled(space, gs.Discrete(2)))
    found = source.resolved(config)
    assert found.config.gym.size == (80, 80)
    assert found.factory()().reset()[0]["a"].shape == (80, 80, 3)
