"""Action masks between the environment and the agent's spaces."""

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces as gs

from reverie.envs.check import check
from reverie.envs.errors import SpaceError, ValueMismatchError
from reverie.envs.flat.conform import spaces
from reverie.envs.flat.masks import MaskFromInfo, valid_actions
from reverie.envs.wrappers import wrap
from reverie.spaces import Space, mask_keys

TWO = gs.Dict({"a": gs.Discrete(3), "b": gs.MultiDiscrete([2, 2]), "c": gs.Box(-1, 1, (1,))})


class Picky(gymnasium.Env):
    """Raises on an action that its mask rules out; the masks are what a function of time says."""

    def __init__(self, mask_space, action_space=None, mask=lambda time: np.arange(3) != time % 3):
        self.observation_space = gs.Dict({"time": gs.Discrete(10), "action_mask": mask_space})
        self.action_space = gs.Discrete(3) if action_space is None else action_space
        self._mask = mask

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self._time = 0
        return self._observe(), {}

    def step(self, action):
        if isinstance(self.action_space, gs.Discrete) and not self._mask(self._time)[action]:
            raise ValueError(f"{action} is invalid at {self._time}")
        self._time += 1
        return self._observe(), 1.0, self._time >= 9, False, {}

    def _observe(self):
        return {"time": self._time, "action_mask": self._mask(self._time)}


class InInfo(gymnasium.Wrapper):
    """The mask in the info, with an observation of any space beside it."""

    def __init__(self, env, observation_space, value):
        super().__init__(env)
        self.observation_space = observation_space
        self._value = value

    def reset(self, **options):
        obs, info = self.env.reset(**options)
        return self._value, {**info, "action_mask": obs["action_mask"]}

    def step(self, action):
        obs, *rest, info = self.env.step(action)
        return self._value, *rest, {**info, "action_mask": obs["action_mask"]}


@pytest.mark.parametrize(
    ("space", "convert"),
    [
        (gs.MultiBinary(3), np.asarray),
        (gs.Box(0, 1, (3,), np.int8), np.int8),
        (gs.Box(0, 1, (3,), bool), np.asarray),
        (gs.Box(0, 1, (3,), np.float32), np.float32),
    ],
)
def test_masks_of_every_dtype_arrive_as_booleans(space, convert):
    env = wrap(Picky(space, mask=lambda time: convert([True, False, True])))
    obs_space, act_space = spaces(env)
    assert obs_space["action_mask"] == Space("discrete", (3,), "bool", (2, 2, 2))
    assert mask_keys(obs_space, act_space) == {"action": "action_mask"}
    mask = env.reset()[0]["action_mask"]
    assert mask.dtype == bool
    assert mask.tolist() == [True, False, True]


def test_several_actions_have_masks_of_their_own():
    masks = {"a": np.array([0, 1, 0]), "b": np.array([[1, 0], [0, 1]])}
    space = gs.Dict({"a": gs.MultiBinary(3), "b": gs.MultiBinary([2, 2])})
    env = wrap(Picky(space, TWO, mask=lambda time: masks))
    obs_space, act_space = spaces(env)
    found = mask_keys(obs_space, act_space)
    assert found == {"a": "action_mask/a", "b": "action_mask/b"}
    rng = np.random.default_rng(0)
    chosen = valid_actions(act_space, found, env.reset()[0], rng)
    assert chosen["a"] == 1
    assert chosen["b"].tolist() == [0, 1]


@pytest.mark.parametrize(
    ("mask", "action", "words"),
    [
        (gs.MultiBinary(4), None, "'action_mask' is the mask of the action 'action'.*3 classes"),
        (gs.Box(-1, 1, (3,)), None, r"expected one boolean.*MultiBinary\(3\)"),
        (gs.MultiBinary(3), gs.Box(-1, 1, (3,)), "the only discrete action, which does not exist"),
        (gs.MultiBinary(3), TWO, r"discrete actions are \['a', 'b'\]"),
        (gs.Dict({"d": gs.MultiBinary(3)}), TWO, "the action 'd', which does not exist"),
    ],
)
def test_masks_that_fit_no_action_are_refused(mask, action, words):
    with pytest.raises(SpaceError, match=f"Picky: .*{words}"):
        wrap(Picky(mask, action))


def test_a_mask_without_a_valid_class_names_environment_step_and_entry():
    env = wrap(Picky(gs.MultiBinary(3), mask=lambda time: np.full(3, time != 2)))
    env.reset()
    env.step({"action": np.int32(0)})
    with pytest.raises(ValueMismatchError, match=r"Picky, step 2 .*'action_mask' allows no class"):
        env.step({"action": np.int32(0)})
    masks = {"a": np.ones(3, bool), "b": np.array([1, 1, 0, 0])}
    space = gs.Dict({"a": gs.MultiBinary(3), "b": gs.MultiBinary(4)})
    with pytest.raises(ValueMismatchError, match="'action_mask/b' allows no class in entry 1"):
        wrap(Picky(space, TWO, mask=lambda time: masks)).reset()


def test_the_last_mask_of_an_episode_may_be_empty():
    env = wrap(Picky(gs.MultiBinary(3), mask=lambda time: np.full(3, time < 9)))
    env.reset()
    for _ in range(9):
        _, _, over, _, _ = env.step({"action": np.int32(0)})
    assert over


def test_masks_and_repeated_actions_exclude_each_other():
    with pytest.raises(SpaceError, match="repeat=2 would apply an action again"):
        wrap(Picky(gs.MultiBinary(3)), repeat=2)


@pytest.mark.parametrize(
    ("space", "value", "key"),
    [
        (gs.Discrete(4), 2, "obs"),
        (gs.Box(0, 255, (8, 8, 3), np.uint8), np.zeros((8, 8, 3), np.uint8), "image"),
        (gs.Tuple((gs.Discrete(4),)), (2,), "obs/0"),
        (gs.Dict({"x": gs.Discrete(4)}), {"x": 2}, "x"),
    ],
)
def test_a_mask_in_the_info_moves_beside_any_observation(space, value, key):
    env = InInfo(Picky(gs.MultiBinary(3)), space, value)
    assert sorted(spaces(wrap(env))[0]) == [key]
    wrapped = wrap(env, info_mask="auto")
    assert sorted(spaces(wrapped)[0]) == sorted([key, "action_mask"])
    obs, _ = wrapped.reset()
    assert obs["action_mask"].tolist() == [False, True, True]
    obs, *_ = wrapped.step({"action": np.int32(1)})
    assert obs["action_mask"].tolist() == [True, False, True]


def test_an_info_may_hold_a_mask_per_action_and_a_tuple_per_entry():
    mask = {"b": (np.array([1, 0]), np.array([0, 1]))}
    space = gs.Dict({"a": gs.MultiBinary(3), "b": gs.MultiBinary(4)})
    env = wrap(InInfo(Picky(space, TWO, lambda time: mask), gs.Discrete(4), 2), info_mask="use")
    obs, _ = env.reset()
    assert obs["action_mask/a"].tolist() == [True] * 3
    assert obs["action_mask/b"].tolist() == [True, False, False, True]


@pytest.mark.parametrize(
    ("mask", "words"),
    [
        (None, "step 0 .*the info has no 'action_mask'.*info_mask to ignore"),
        (np.ones(4, bool), "has 4 entries, not one for each of its 3 classes"),
        ({"jump": np.ones(3)}, r"not a mapping from \['action'\]"),
    ],
)
def test_wrong_masks_in_the_info_name_the_option(mask, words):
    env = InInfo(Picky(gs.MultiBinary(3), mask=lambda time: mask), gs.Discrete(4), 2)
    with pytest.raises(ValueMismatchError, match=f"Picky.*{words}"):
        wrap(env, info_mask="use").reset()


def test_an_observed_mask_is_not_looked_for_in_the_info():
    env = MaskFromInfo(InInfo(Picky(gs.MultiBinary(3)), gs.Discrete(4), 2))
    assert sorted(spaces(wrap(env, info_mask="use"))[0]) == ["action_mask", "obs"]


def test_without_a_discrete_action_a_mask_in_the_info_is_no_mask():
    inner = Picky(gs.MultiBinary(3), TWO["c"])
    env = InInfo(inner, gs.Discrete(4), 2)
    assert list(spaces(wrap(env, info_mask="auto"))[0]) == ["obs"]
    with pytest.raises(SpaceError, match="a mask is for discrete actions"):
        wrap(env, info_mask="use")


def test_gymnasium_environments_with_masks_work_by_name():
    from reverie.envs.registry import make

    env = make("gym_Taxi-v4")
    assert sorted(spaces(env)[0]) == ["action_mask", "obs"]
    assert "action_mask" not in spaces(make("gym_Taxi-v4", {"info_mask": "ignore"}))[0]


def test_the_check_plays_valid_actions():
    assert {finding.level for finding in check(lambda: Picky(gs.MultiBinary(3)))} == {"note"}
    found = check(lambda: InInfo(Picky(gs.MultiBinary(3)), gs.Discrete(4), 2))
    assert "error" not in {finding.level for finding in found}


def test_the_check_finds_a_mask_that_promises_too_much():
    class Lying(Picky):
        def _observe(self):
            return {"time": self._time, "action_mask": np.ones(3, bool)}

    found = check(lambda: Lying(gs.MultiBinary(3)))[0]
    assert found.level == "error"
    assert "is invalid at" in found.problem
    assert "declared valid" in found.mend


def test_the_check_finds_a_mask_of_a_wrong_shape():
    found = check(lambda: Picky(gs.MultiBinary(4)))[0]
    assert "3 classes" in found.problem
