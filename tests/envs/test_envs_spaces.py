"""Flat spaces and the conversion of values, through `wrap` and `spaces`."""

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces as gs
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from reverie.envs.errors import SpaceError, ValueMismatchError
from reverie.envs.flat.conform import spaces
from reverie.envs.flat.leaves import random_actions
from reverie.envs.wrappers import wrap
from reverie.spaces import Space


class Replayer(gymnasium.Env):
    """Returns given observations and keeps the actions that it receives."""

    def __init__(self, observation_space, action_space, *observations):
        self.observation_space = observation_space
        self.action_space = action_space
        self.observations = list(observations)
        self.actions = []

    def reset(self, *, seed=None, options=None):
        return self.observations.pop(0), {}

    def step(self, action):
        self.actions.append(action)
        return self.observations.pop(0), 0.0, False, False, {}


def wrapped(observation_space, *observations, action_space=None):
    # A space of several axes has a truth value that warns.
    action_space = gs.Discrete(2) if action_space is None else action_space
    return wrap(Replayer(observation_space, action_space, *observations))


def observe(space, value):
    return wrapped(space, value).reset()[0]


def act(space, action):
    """What the environment receives for a flat action."""
    env = wrap(Replayer(gs.Discrete(2), space, 0, 0))
    env.reset()
    env.step(action)
    return env.unwrapped.actions[0]


@pytest.mark.parametrize(
    ("space", "key", "expected"),
    [
        (gs.Box(-1, 1, (3,), np.float64), "obs", Space("continuous", (3,), "float32")),
        (gs.Box(-1, 1, (), np.float16), "obs", Space("continuous", (), "float32")),
        (gs.Box(-1, 1, (2, 3, 4, 5)), "obs", Space("continuous", (2, 3, 4, 5), "float32")),
        (gs.Box(-5, 5, (2,), np.int64), "obs", Space("continuous", (2,), "float32")),
        (gs.Box(0, 255, (8, 9, 3), np.uint8), "image", Space("image", (8, 9, 3), "uint8")),
        (gs.Box(0, 255, (8, 9), np.uint8), "obs", Space("continuous", (8, 9), "float32")),
        (gs.Box(0, 1, (3,), bool), "obs", Space("discrete", (3,), "bool", (2, 2, 2))),
        (gs.Discrete(4, start=-2), "obs", Space("discrete", (), "int32", (4,))),
        (gs.MultiDiscrete([2, 5]), "obs", Space("discrete", (2,), "int32", (2, 5))),
        (
            gs.MultiDiscrete([[2, 5], [3, 4]]),
            "obs",
            Space("discrete", (2, 2), "int32", (2, 5, 3, 4)),
        ),
        (gs.MultiBinary(2), "obs", Space("discrete", (2,), "bool", (2, 2))),
    ],
)
def test_single_spaces(space, key, expected):
    obs, _ = spaces(wrapped(space))
    assert obs == {key: expected}


def test_nested_spaces_flatten_and_log_keys_are_hidden():
    space = gs.Dict(
        {
            "a": gs.Dict({"b": gs.Discrete(3), "c": gs.Tuple((gs.Discrete(2), gs.MultiBinary(1)))}),
            "empty": gs.Box(-1, 1, (0,)),
            "log": gs.Dict({"depth": gs.Box(0, 1, ())}),
        }
    )
    value = {
        "a": {"b": 2, "c": (1, np.array([1], np.int8))},
        "empty": np.zeros(0, np.float32),
        "log": {"depth": 0.5},
    }
    env = wrapped(space, value)
    assert list(spaces(env)[0]) == ["a/b", "a/c/0", "a/c/1"]
    flat, _ = env.reset()
    assert sorted(flat) == ["a/b", "a/c/0", "a/c/1", "log/depth"]
    assert flat["a/b"] == 2
    assert flat["a/b"].dtype == np.int32
    assert flat["a/c/1"].tolist() == [True]
    assert flat["log/depth"].dtype == np.float32


def test_a_tuple_at_the_top_gets_names_that_differ_between_observation_and_action():
    pair = gs.Tuple((gs.Discrete(2), gs.Box(-1, 1, (2,))))
    obs, action = spaces(wrapped(pair, action_space=pair))
    assert list(obs) == ["obs/0", "obs/1"]
    assert list(action) == ["action/0", "action/1"]


def test_offsets_are_removed_and_restored():
    flat = observe(gs.MultiDiscrete([3, 4], start=[10, -1]), np.array([12, -1]))
    assert flat["obs"].tolist() == [2, 0]
    assert act(gs.MultiDiscrete([3, 4], start=[10, -1]), {"action": np.array([2, 0])}).tolist() == [
        12,
        -1,
    ]
    received = act(gs.Discrete(4, start=5), {"action": np.int32(3)})
    assert received == 8
    assert gs.Discrete(4, start=5).contains(received)


def test_nested_actions_are_rebuilt():
    space = gs.Dict(
        {
            "move": gs.Tuple((gs.Discrete(3), gs.Box(-2.0, 4.0, (2,), np.float64))),
            "none": gs.Box(0, 1, (0,)),
            "switch": gs.MultiBinary(2),
            "level": gs.Box(0, 10, (1,), np.int16),
        }
    )
    flat = {
        "move/0": np.int32(1),
        "move/1": np.array([-1.0, 1.0], np.float32),
        "switch": np.array([True, False]),
        "level": np.array([0.1], np.float32),
    }
    received = act(space, flat)
    assert space.contains(received)
    assert received["move"][0] == 1
    assert received["move"][1].tolist() == [-2.0, 4.0]
    assert received["level"].tolist() == [6]
    assert received["none"].shape == (0,)


def test_an_image_action_space_is_continuous():
    env = wrapped(gs.Discrete(2), action_space=gs.Box(0, 255, (2, 2, 1), np.uint8))
    assert spaces(env)[1] == {"action": Space("continuous", (2, 2, 1), "float32")}


@pytest.mark.parametrize(
    "space",
    [
        gs.Box(-2.0, 3.0, ()),
        gs.Box(-2.0, 3.0, (), np.float64),
        gs.Box(-np.inf, np.inf, (1, 2, 1, 2, 1), np.float16),
        gs.Box(np.array([0, -np.inf, -1]), np.array([np.inf, 3, 1]), dtype=np.float64),
        gs.Box(-1e300, 1e300, (2,), np.float64),
        gs.Box(0, 255, (), np.uint8),
        gs.Box(np.iinfo(np.int64).min, np.iinfo(np.int64).max, (2,), np.int64),
        gs.Box(0, np.iinfo(np.uint64).max, (2,), np.uint64),
        gs.Box(0, 1, (2, 2), bool),
        gs.MultiBinary([2, 3]),
        gs.MultiDiscrete([[2, 5], [3, 4]], start=[[1, 0], [-2, 0]]),
        gs.Discrete(1),
    ],
)
def test_whatever_the_policy_chooses_is_inside_the_action_space(space):
    action_space = spaces(wrapped(gs.Discrete(2), action_space=space))[1]["action"]
    smallest = min(action_space.classes, default=0)
    extremes = [0, smallest - 1] if smallest else [-1e9, -1, 0.3, 1, 1e9]
    for value in extremes:
        chosen = np.full(action_space.shape, value)
        received = act(space, {"action": chosen.astype(action_space.dtype)})
        assert space.contains(received), (value, received)


@pytest.mark.parametrize(
    ("space", "words"),
    [
        (gs.Text(5), ["'observation'", "Text", "TransformObservation"]),
        (gs.Dict({"a": gs.Text(5)}), ["nothing but text", "'a'", "Text"]),
        (gs.Dict({"a": gs.Sequence(gs.Discrete(2))}), ["'a'", "Sequence"]),
        (gs.Tuple((gs.Graph(gs.Box(-1, 1, (2,)), None),)), ["'obs/0'", "Graph"]),
        (gs.Dict({"a": gs.OneOf((gs.Discrete(2), gs.Discrete(3)))}), ["'a'", "OneOf"]),
        (gs.Dict({"reward": gs.Discrete(2)}), ["'reward'", "reserved"]),
        (gs.Dict({"latent": gs.Dict({"deter": gs.Discrete(2)})}), ["'latent/deter'", "reserved"]),
        (gs.Dict({"a/b": gs.Discrete(2), "a": gs.Dict({"b": gs.Discrete(2)})}), ["'a/b'", "same"]),
        (gs.Box(-1, 1, (0,)), ["size above zero"]),
        (gs.Dict({"log/x": gs.Discrete(2)}), ["nothing but 'log/x'", "never reaches the agent"]),
        (gs.Dict({"action": gs.Discrete(2)}), ["'action'", "observation and an action"]),
    ],
)
def test_unusable_observation_spaces_name_the_entry(space, words):
    with pytest.raises(SpaceError) as error:
        wrapped(space)
    for word in ["Replayer", *words]:
        assert word in str(error.value)


@pytest.mark.parametrize("space", [gs.Text(5), gs.OneOf((gs.Discrete(2), gs.Discrete(3)))])
def test_unusable_action_spaces_are_refused_too(space):
    words = f"Replayer: The action 'action' is a {type(space).__name__}"
    with pytest.raises(SpaceError, match=words):
        wrapped(gs.Discrete(2), action_space=space)


def test_log_actions_are_refused():
    with pytest.raises(SpaceError, match="'log/x'"):
        wrapped(gs.Discrete(2), action_space=gs.Dict({"log/x": gs.Discrete(2)}))


@pytest.mark.parametrize(
    ("space", "value", "words"),
    [
        (gs.Box(-1, 1, (2,)), np.zeros(3, np.float32), ["'obs'", "(3,)", "(2,)"]),
        (gs.Box(-1, 1, (2,)), [1.0, [2.0]], ["'obs'", "not one array"]),
        (gs.Box(-1, 1, (2,)), np.array(["a", "b"]), ["'obs'", "<U1"]),
        (gs.Box(0, 255, (2, 2, 3), np.uint8), np.zeros((2, 2, 3)), ["'image'", "float64", "uint8"]),
        (gs.Box(0, 255, (8, 9, 3), np.uint8), np.zeros((3, 8, 9), np.uint8), ["move the channels"]),
        (gs.Discrete(3), 3, ["'obs'", "3", "Discrete(3)"]),
        (gs.Discrete(3), -2, ["'obs'", "-2"]),
        (gs.Discrete(3), 1.0, ["'obs'", "float64"]),
        (gs.MultiDiscrete([2, 3]), np.array([2, 0]), ["'obs'", "[2, 0]"]),
        (gs.MultiBinary(2), np.array([0, 2], np.int8), ["'obs'", "[0, 2]"]),
        (gs.Dict({"a": gs.Discrete(2)}), {}, [": observation has the entries []", "['a']"]),
        (gs.Dict({"a": gs.Discrete(2)}), {"a": 1, "b": 2}, ["['a', 'b']", "['a']"]),
        (gs.Dict({"a": gs.Discrete(2)}), 3, [": observation is 3", "Dict", "['a']"]),
        (
            gs.Dict({"a": gs.Tuple((gs.Discrete(2),))}),
            {"a": (0, 1)},
            ["observation 'a' has", "[0, 1]", "[0]"],
        ),
        (gs.Box(-1, 1, (2,)), np.array([0, np.nan]), ["'obs'", "NaN", "[1]"]),
        (gs.Box(-np.inf, np.inf, (2,)), np.array([np.nan, 0]), ["'obs'", "NaN", "[0]"]),
        (gs.Box(-np.inf, np.inf, ()), np.inf, ["'obs'", "infinite"]),
        (gs.Box(-np.inf, np.inf, (), np.float64), 1e300, ["'obs'", "infinite in float32"]),
        (gs.Box(-1, 1, (2,)), np.array([0, 1.5]), ["'obs'", "above", "1.5", "env.gym.bounds"]),
        (gs.Box(-1, np.inf, (2,)), np.array([0, -1.5]), ["'obs'", "below", "-1.5"]),
        (gs.Box(0, np.inf, (2,)), np.array([0, np.inf]), ["'obs'", "infinite", "[1]"]),
    ],
)
def test_wrong_observations_name_environment_step_key_and_value(space, value, words):
    env = wrapped(space, value)
    with pytest.raises(ValueMismatchError) as error:
        env.reset()
    for word in ["Replayer", "step 0", *words]:
        assert word in str(error.value)


def test_missing_values_pass():
    assert observe(gs.Discrete(3), -1)["obs"] == -1
    assert observe(gs.MultiDiscrete([3, 3]), np.array([-1, 2]))["obs"].tolist() == [-1, 2]
    assert observe(gs.Box(-1, 1, (1,)), np.array([-np.inf]))["obs"].tolist() == [-np.inf]
    unbounded = observe(gs.Box(-np.inf, np.inf, (2,)), np.array([-np.inf, 1e30], np.float32))
    assert unbounded["obs"].tolist() == [-np.inf, np.float32(1e30)]


def test_rounding_to_float32_stays_inside_the_bounds():
    space = gs.Box(0.0, 0.1, (1,), np.float64)
    assert observe(space, np.array([0.1]))["obs"].dtype == np.float32


@settings(max_examples=100, deadline=None)
@given(
    hnp.arrays(
        st.sampled_from([np.float16, np.float32, np.float64, np.int8, np.int32, np.uint8]),
        hnp.array_shapes(min_dims=0, max_dims=4, max_side=4),
        elements=st.integers(0, 100),
    )
)
def test_any_finite_box_value_arrives_as_float32(array):
    space = gs.Box(0, 100, array.shape, array.dtype.type)
    flat = observe(space, array)
    (value,) = flat.values()
    assert value.dtype == (np.uint8 if array.ndim == 3 and array.dtype == np.uint8 else np.float32)
    np.testing.assert_array_equal(value, array)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(1, 6), min_size=1, max_size=4), st.integers(-5, 5), st.integers(0, 999))
def test_discrete_actions_round_trip_into_their_space(sizes, start, seed):
    space = gs.MultiDiscrete(sizes, start=[start] * len(sizes))
    env = wrapped(gs.Discrete(2), action_space=space)
    action = random_actions(spaces(env)[1], 1, np.random.default_rng(seed))["action"][0]
    received = act(space, {"action": action})
    assert space.contains(received)
    assert (received - start).tolist() == action.tolist()
