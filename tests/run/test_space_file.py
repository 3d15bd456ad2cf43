"""Gymnasium spaces to JSON and back, and values through the wrappers."""

import enum
import inspect
import json

import numpy as np
import pytest
from gymnasium import spaces as gs

from reverie.envs import errors, registry
from reverie.envs.flat import conform
from reverie.envs.flat.converter import Converter
from reverie.run.saved.space_file import decode, encode, read_spaces, write_spaces

SPACES = [
    gs.Discrete(5, start=-2),
    gs.MultiDiscrete([2, 3, 4], start=[0, 1, 2]),
    gs.MultiBinary((2, 3)),
    gs.Box(0, 255, (8, 6, 3), np.uint8),
    gs.Box(np.float32([-1.5, -np.inf]), np.float32([np.inf, 1e30]), dtype=np.float32),
    gs.Box(-1, 1, (), np.float64),
    gs.Dict({"b": gs.Discrete(2), "a": gs.Tuple((gs.Box(0, 1, (2,)), gs.Discrete(3)))}),
]


@pytest.mark.parametrize("space", SPACES, ids=lambda s: type(s).__name__)
def test_round_trip_through_strict_json(space):
    text = json.dumps(encode(space), allow_nan=False)
    restored = decode(json.loads(text))
    assert restored == space
    assert restored.dtype == space.dtype


@pytest.mark.skipif(
    "dtype" not in inspect.signature(gs.Discrete).parameters, reason="not in this gymnasium"
)
def test_the_dtype_of_a_choice_is_kept():
    space = gs.Discrete(5, start=1, dtype=np.int32)
    assert decode(json.loads(json.dumps(encode(space)))) == space


def test_file_keeps_observation_and_action(tmp_path):
    write_spaces(tmp_path / "spaces.json", SPACES[-1], SPACES[0])
    assert read_spaces(tmp_path / "spaces.json") == (SPACES[-1], SPACES[0])


class Sensor(str, enum.Enum):  # noqa: UP042 - str() of these is not their text, in 3.11 and later
    LEFT = "left"
    RIGHT = "right"


@pytest.mark.parametrize("keys", [("a", "b"), (0, "b"), tuple(Sensor)], ids=str)
def test_an_agent_names_entries_as_training_did(keys):
    space = gs.Dict({key: gs.Discrete(2) for key in keys})
    restored = decode(json.loads(json.dumps(encode(space))))
    assert Converter(restored, SPACES[0]).spaces == Converter(space, SPACES[0]).spaces


@pytest.mark.parametrize(
    "space", [gs.Sequence(gs.Discrete(2)), gs.Dict({("a", 1): gs.Discrete(2)})], ids=str
)
def test_unusable_space_is_refused(space):
    with pytest.raises(TypeError, match=f"A space of kind {type(space).__name__} cannot be saved"):
        encode(space)


def test_an_agent_reads_past_texts_whatever_they_say():
    space = gs.Dict({"count": gs.Discrete(3), "mission": gs.Text(80)})
    restored = decode(json.loads(json.dumps(encode(space))))
    converter = Converter(restored, gs.Discrete(2))
    flat = converter.observation({"count": 2, "mission": "go to the red door"})
    assert flat == {"count": 2}


def test_converter_equals_the_wrapped_environment():
    env = registry.make("dummy_hybrid")
    inner = env
    while not hasattr(inner, "_observe"):
        inner = inner.env
    raw, _ = inner.reset(seed=3)
    converter = Converter(inner.observation_space, inner.action_space)
    flat = converter.observation(raw)
    obs_space, act_space = conform.spaces(env)
    assert sorted(flat) == sorted(obs_space)
    np.testing.assert_array_equal(flat["vector"], raw["vector"])
    np.testing.assert_array_equal(flat["nested/inner"], raw["nested"]["inner"])
    actions = {key: space.zeros() for key, space in act_space.items()}
    actions["force"] = np.array([-1, 0, 5], np.float32)
    action = converter.action(actions)
    np.testing.assert_allclose(action["force"], [-2, 0.5, 3])
    assert inner.action_space.contains(action)


def test_converter_resizes_as_training_does():
    space = gs.Box(0, 255, (8, 8, 3), np.uint8)
    converter = Converter(space, gs.Discrete(3, start=1), size=(4, 6))
    assert converter.observation(space.sample())["image"].shape == (4, 6, 3)
    assert converter.action({"action": np.array(2)}) == 3


def test_wrong_observation_is_refused():
    converter = Converter(gs.Box(-1, 1, (3,)), gs.Discrete(2))
    with pytest.raises(errors.ValueMismatchError, match="shape"):
        converter.observation(np.zeros(4, np.float32))
