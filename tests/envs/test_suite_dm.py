"""The adapter for dm_env: specs, ends of episodes, seeds, and tasks by module and factory."""

import sys
from importlib.util import find_spec

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces as gs
from gymnasium.utils.env_checker import check_env

dm_env = pytest.importorskip("dm_env")
from dm_env import specs  # noqa: E402

from reverie.config.sections.env import DmConfig  # noqa: E402
from reverie.envs.check import check  # noqa: E402
from reverie.envs.errors import NotAnEnvError, SpaceError, UnknownTaskError  # noqa: E402
from reverie.envs.flat.conform import spaces  # noqa: E402
from reverie.envs.flat.leaves import random_actions  # noqa: E402
from reverie.envs.registry import make, tasks  # noqa: E402
from reverie.envs.suites._common.dm_env import DmEnv  # noqa: E402

HERE = "dm_fake_tasks"


class Maze(dm_env.Environment):
    """Every kind of spec; the episode ends as `end` says after `length` steps."""

    def __init__(self, length=6, end="termination", seed=None):
        self._length, self._end = length, end
        self._rng = np.random.default_rng(seed)
        self._place = np.zeros(3)
        self._time = 0
        self.seed = seed
        self.closed = False
        self.actions = []

    def reset(self):
        self._time = 0
        self._place[:] = self._rng.uniform(-0.1, 0.1, 3)
        return dm_env.restart(self._look())

    def step(self, action):
        self.actions.append(action)
        self._time += 1
        self._place += 0.1 * action["move"]
        if self._time < self._length:
            return dm_env.transition(1.0, self._look(), discount=0.9)
        if self._end == "termination":
            return dm_env.termination(2.0, self._look())
        return dm_env.truncation(2.0, self._look())

    def observation_spec(self):
        return {
            "place": specs.Array((3,), np.float64),
            "near": specs.BoundedArray((), np.float64, 0.0, 1.0),
            "camera": specs.BoundedArray((8, 9, 3), np.uint8, 0, 255),
            "counts": specs.Array((2,), np.int32),
            "phase": specs.DiscreteArray(4),
            "door": specs.Array((), bool),
            "doors": specs.Array((2,), bool),
            "nothing": specs.Array((0,), np.float32),
            "pair": (specs.BoundedArray((), np.int64, -2, 2), specs.Array((1,), np.float32)),
        }

    def action_spec(self):
        return {
            "move": specs.BoundedArray((3,), np.float64, -1.1, [1.1, 1.1, 0.1]),
            "jump": specs.DiscreteArray(3, np.int64),
            "nothing": specs.BoundedArray((0,), np.float64, -1.0, 1.0),
        }

    def close(self):
        self.closed = True

    def _look(self):
        return {
            "place": self._place,
            "near": 1 / (1 + self._time),
            "camera": np.full((8, 9, 3), 200 + self._time, np.uint8),
            "counts": np.array([self._time, -self._time], np.int32),
            "phase": np.int32(self._time % 4),
            "door": np.bool_(self._time % 2),
            "doors": np.array([True, False]),
            "nothing": np.zeros(0, np.float32),
            "pair": (self._time % 5 - 2, np.ones(1, np.float32)),
        }


class Listed(Maze):
    """Actions in a list."""

    def action_spec(self):
        return [specs.DiscreteArray(2), specs.BoundedArray((2,), np.float32, -1, 1)]

    def step(self, action):
        assert isinstance(action, list)
        return super().step({"move": action[1].sum() * np.ones(3) + action[0]})


class Named(Maze):
    """Observes text."""

    def observation_spec(self):
        return {"name": specs.StringArray(())}


def unseeded(length=6):
    return Maze(length)


def no_environment():
    return 3


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    """Makes this file a module that tasks can name."""
    monkeypatch.setitem(sys.modules, HERE, sys.modules[__name__])


def play(env, steps=60, seed=0):
    actions = random_actions(spaces(env)[1], steps, np.random.default_rng(0))
    record = [(env.reset(seed=seed)[0], 0.0, False, False)]
    for index in range(steps):
        if record[-1][2] or record[-1][3]:
            record.append((env.reset()[0], 0.0, False, False))
        else:
            record.append(env.step({key: value[index] for key, value in actions.items()})[:4])
        assert env.observation_space.contains(record[-1][0])
    return record


def same(one, two):
    return all(
        np.array_equal(a[0][key], b[0][key]) for a, b in zip(one, two, strict=True) for key in a[0]
    )


def test_specs_become_spaces():
    space = DmEnv(Maze(), "maze").observation_space
    expected = {
        "place": gs.Box(-np.inf, np.inf, (3,), np.float32),
        "near": gs.Box(0.0, 1.0, (), np.float32),
        "camera": gs.Box(0, 255, (8, 9, 3), np.uint8),
        "counts": gs.Box(-(2**31), 2**31 - 1, (2,), np.int32),
        "phase": gs.Discrete(4),
        "door": gs.Discrete(2),
        "doors": gs.MultiBinary((2,)),
        "pair": gs.Tuple([gs.Discrete(5, start=-2), gs.Box(-np.inf, np.inf, (1,), np.float32)]),
    }
    assert space == gs.Dict(expected)
    action = DmEnv(Maze(), "maze").action_space
    assert set(action.keys()) == {"move", "jump"}
    np.testing.assert_array_equal(action["move"].high, np.array([1.1, 1.1, 0.1], np.float32))


def test_actions_reach_the_environment_as_its_spec_says():
    maze = Maze()
    env = DmEnv(maze, "maze")
    env.reset(seed=0)
    high = env.action_space["move"].high
    assert float(high[0]) > 1.1  # As float32 the bound lies outside the one of float64.
    env.step({"move": high, "jump": np.int64(2)})
    (action,) = maze.actions
    for key, spec in maze.action_spec().items():
        spec.validate(action[key])


def test_actions_in_a_list_come_as_a_list():
    env = DmEnv(Listed(), "listed")
    env.reset(seed=0)
    before = env._dm._place.copy()
    obs = env.step((1, np.array([0.5, 0.25], np.float32)))[0]
    np.testing.assert_allclose(obs["place"], before + 0.175, rtol=1e-5)


def test_observations_are_copies():
    env = DmEnv(Maze(), "maze")
    first = env.reset(seed=0)[0]["place"]
    kept = first.copy()
    env.step(env.action_space.sample())
    np.testing.assert_array_equal(first, kept)


@pytest.mark.parametrize(
    ("end", "flags"), [("termination", (True, False)), ("truncation", (False, True))]
)
def test_the_discount_tells_termination_from_truncation(end, flags):
    env = DmEnv(Maze(length=3, end=end), "maze")
    env.reset(seed=0)
    steps = [env.step(env.action_space.sample()) for _ in range(3)]
    assert [step[2:4] for step in steps] == [(False, False), (False, False), flags]
    assert [step[1] for step in steps] == [1.0, 1.0, 2.0]
    with pytest.raises(gymnasium.error.ResetNeeded, match="Call reset"):
        env.step(env.action_space.sample())
    env.reset()
    env.step(env.action_space.sample())


def test_text_is_refused():
    with pytest.raises(SpaceError, match=r"'observation/name'.*StringArray"):
        DmEnv(Named(), "named")


def test_a_factory_with_a_seed_is_repeatable():
    name = f"dm_{HERE}:Maze"
    records = [play(make(name), seed=seed) for seed in (0, 0, 1)]
    assert same(*records[:2])
    assert not same(records[0], records[2])
    assert sum(step[2] for step in records[0]) == 8
    assert [str(f) for f in check(name, {"size": (64, 64)}) if f.level != "note"] == []


def test_a_reset_with_a_seed_builds_anew_and_closes_the_old_one():
    env = make(f"dm_{HERE}:Maze")
    first = env.unwrapped._dm
    env.reset(seed=4)
    second = env.unwrapped._dm
    assert first.closed
    assert second.seed is not None
    env.reset()
    assert env.unwrapped._dm is second
    env.close()
    assert second.closed


def test_a_seed_in_the_arguments_stays():
    env = make(f"dm_{HERE}:Maze", {"kwargs": {"seed": 5}})
    env.reset(seed=1)
    assert env.unwrapped._dm.seed == 5


def test_an_environment_that_cannot_be_seeded_is_reported():
    found = [str(f) for f in check(f"dm_{HERE}:unseeded") if f.level == "warning"]
    assert len(found) == 1
    assert "same seed" in found[0]


def test_settings_have_their_effect_and_the_defaults_of_the_configuration():
    options = {"kwargs": {"length": 4, "end": "truncation"}, "size": [16, 24], "repeat": 2}
    env = make(f"dm_{HERE}:Maze", options)
    obs, _ = env.reset(seed=0)
    assert obs["camera"].shape == (16, 24, 3)
    action = {"move": np.zeros(3, np.float32), "jump": np.int32(0)}
    assert [env.step(action)[1:4] for _ in range(2)] == [(2.0, False, False), (3.0, False, True)]
    defaults = DmConfig().model_dump()
    assert defaults == {"kwargs": {}, "size": (), "repeat": 1, "bounds": "warn"}
    assert make(f"dm_{HERE}:Maze", defaults).reset(seed=0)[0]["camera"].shape == (8, 9, 3)


def test_bounds_can_be_ignored(monkeypatch):
    monkeypatch.setattr(Maze, "_look", lambda self: {**LOOK(self), "near": 1.5})
    with pytest.raises(ValueError, match="near"):
        make(f"dm_{HERE}:Maze", {"bounds": "error"}).reset(seed=0)
    assert make(f"dm_{HERE}:Maze", {"bounds": "ignore"}).reset(seed=0)[0]["near"] == 1.5


LOOK = Maze._look


@pytest.mark.parametrize(
    ("task", "words"),
    [
        ("dm_walker", "write dm_module:factory"),
        ("dm_:make", "write dm_module:factory"),
        ("dm_no_such_module:make", "no_such_module"),
        (f"dm_{HERE}:nowhere", "nowhere"),
        (f"dm_{HERE}:HERE", "names a str"),
    ],
)
def test_tasks_that_name_no_factory_are_errors(task, words):
    with pytest.raises(UnknownTaskError, match=words) as error:
        make(task)
    assert "\n" not in str(error.value)


def test_a_factory_of_something_else_is_an_error():
    with pytest.raises(NotAnEnvError, match=r"int, not a dm_env\.Environment"):
        make(f"dm_{HERE}:no_environment")


def test_the_examples_are_installed_and_work():
    names = tasks("dm")
    assert ("bsuite.environments.catch:Catch" in names) == bool(find_spec("bsuite"))
    for name in names:
        env = make(f"dm_{name}")
        assert same(*(play(env, 30, seed=2) for _ in range(2)))


def test_a_task_of_the_control_suite_works_through_its_factory():
    pytest.importorskip("dm_control")
    name = "dm_dm_control.suite.cartpole:balance"
    options = {"kwargs": {"time_limit": 0.5}}
    records = [play(make(name, options), seed=seed) for seed in (0, 0, 1)]
    assert same(*records[:2])
    assert not same(records[0], records[2])
    assert [index for index, step in enumerate(records[0]) if step[3]] == [50]


@pytest.mark.filterwarnings("ignore:.*(Box|observation|render).*:UserWarning")
def test_the_check_of_gymnasium_finds_nothing():
    check_env(DmEnv(Maze(), "maze", lambda seed: Maze(seed=seed)), skip_render_check=True)
