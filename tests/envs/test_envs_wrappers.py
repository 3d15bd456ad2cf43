"""The wrapper chain: actions, repeats, images, flags and rewards."""

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces as gs
from hypothesis import given, settings
from hypothesis import strategies as st

from reverie.envs.errors import NotAnEnvError, ValueMismatchError
from reverie.envs.flat.conform import is_wrapped, native, spaces
from reverie.envs.vector.vector import VectorEnv
from reverie.envs.wrappers import wrap
from reverie.errors import ConfigError


class Script(gymnasium.Env):
    """Plays a list of (reward, terminated, truncated, info) and keeps its actions."""

    observation_space = gs.Box(-np.inf, np.inf, (1,))

    def __init__(self, action_space=None, steps=()):
        self.action_space = action_space or gs.Discrete(3)
        self.steps = list(steps)
        self.actions = []

    def reset(self, *, seed=None, options=None):
        return np.zeros(1, np.float32), {}

    def step(self, action):
        self.actions.append(action)
        reward, terminated, truncated, info = self.steps.pop(0)
        return np.zeros(1, np.float32), reward, terminated, truncated, info


def send(space, action):
    """What an environment with this action space receives."""
    env = wrap(Script(space, [(0.0, False, False, {})]))
    env.reset()
    env.step({"action": np.asarray(action, np.float32)})
    return env.unwrapped.actions[0]


def test_actions_are_mapped_from_minus_one_to_one():
    space = gs.Box(np.array([-2.0, 0.0, 5.0]), np.array([4.0, 1.0, 5.0]), dtype=np.float64)
    received = send(space, [0.0, 1.0, 0.3])
    assert received.dtype == np.float64
    assert received.tolist() == [1.0, 1.0, 5.0]
    assert send(space, [-1.0, -1.0, -1.0]).tolist() == [-2.0, 0.0, 5.0]


def test_actions_outside_are_clipped():
    space = gs.Box(-2.0, 4.0, (2,))
    assert send(space, [-7.0, 1.01]).tolist() == [-2.0, 4.0]


def test_an_environment_gets_what_the_model_sees_where_there_are_no_bounds():
    # The model cuts actions to [-1, 1].
    low, high = np.float32([-2, -np.inf, 5, -np.inf]), np.float32([2, np.inf, np.inf, 5])
    space = gs.Box(low, high)
    assert send(space, [0.5, 0.5, 0.5, 0.5]).tolist() == [1.0, 0.5, 6.5, 4.5]
    assert send(space, [0.5, 7.0, 7.0, -7.0]).tolist() == [1.0, 1.0, 7.0, 3.0]
    assert send(space, [0.5, -7.0, -7.0, 7.0]).tolist() == [1.0, -1.0, 5.0, 5.0]
    actions = spaces(wrap(Script(space)))[1]
    assert actions["action"].shape == (4,)


def test_bounds_that_float32_cannot_span_count_as_unbounded():
    largest = np.finfo(np.float32).max
    assert send(gs.Box(-largest, largest, (1,)), [0.5]).tolist() == [0.5]


@settings(max_examples=200, deadline=None)
@given(
    st.floats(-1e6, 1e6),
    st.floats(1e-3, 1e6),
    st.floats(-3, 3),
    st.sampled_from(["f4", "f8", "i8"]),
)
def test_every_action_lands_inside_the_space(low, span, value, dtype):
    if dtype == "i8":
        low, span = round(low), 1 + round(span)
    space = gs.Box(low, low + span, (1,), np.dtype(dtype).type)
    assert space.contains(send(space, [value]))


@pytest.mark.parametrize(
    ("action", "words"),
    [
        ({"action": np.float32([np.nan])}, ["'action'", "nan", "finite"]),
        ({"action": np.zeros((2,), np.float32)}, ["'action'", "(2,)", "(1,)"]),
        ({}, ["'action'", "missing"]),
    ],
)
def test_wrong_continuous_actions_are_named(action, words):
    env = wrap(Script(gs.Box(-1, 1, (1,))))
    env.reset()
    with pytest.raises(ValueMismatchError) as error:
        env.step(action)
    for word in ["Script", "step 1", *words]:
        assert word in str(error.value)


@pytest.mark.parametrize(
    ("space", "value"),
    [
        (gs.Discrete(3), 3),
        (gs.Discrete(3), -1),
        (gs.MultiDiscrete([2, 3]), np.array([1, 3])),
        (gs.MultiBinary(2), np.array([0, 2])),
    ],
)
def test_wrong_discrete_actions_are_named(space, value):
    env = wrap(Script(space))
    env.reset()
    with pytest.raises(ValueMismatchError, match=r"the action 'action' is .*expected"):
        env.step({"action": value})


def test_repeat_sums_rewards_and_stops_at_the_end():
    go, end = (1.0, False, False, {"log/x": 1}), (2.0, False, True, {"log/x": 2})
    env = wrap(Script(steps=[go, go, go, go, end]), repeat=3)
    env.reset()
    assert env.step({"action": np.int32(1)})[1:] == (
        3.0,
        False,
        False,
        {"log/x": 1, "log/x/sum": 3},
    )
    assert env.step({"action": np.int32(2)})[1:] == (3.0, False, True, {"log/x": 2, "log/x/sum": 3})
    assert env.unwrapped.actions == [1, 1, 1, 2, 2]


def test_repeat_keeps_events_of_inner_steps():
    events = (0, 1, 0, 1, 0)
    steps = [(0.0, False, False, {"log/is_terminal": e, "lives": i}) for i, e in enumerate(events)]
    env = wrap(Script(steps=steps), repeat=5)
    env.reset()
    info = env.step({"action": np.int32(1)})[4]
    assert info == {"log/is_terminal": 1, "log/is_terminal/sum": 2, "lives": 4}


@pytest.mark.parametrize(
    ("reward", "words"),
    [(np.nan, "nan"), (np.inf, "inf"), (1e39, "1e+39"), (np.ones(1), "(1,)"), (None, "None")],
)
@pytest.mark.parametrize("repeat", [1, 2])
def test_wrong_rewards_are_named(reward, words, repeat):
    steps = [(0.0, False, False, {})] * (repeat - 1) + [(reward, False, False, {})]
    env = wrap(Script(steps=steps), repeat=repeat)
    env.reset()
    with pytest.raises(ValueMismatchError) as error:
        env.step({"action": np.int32(0)})
    assert "Script, step 1 of the episode: the reward" in str(error.value)
    assert words in str(error.value)


@pytest.mark.parametrize("repeat", [1, 3])
def test_an_info_that_is_none_is_named(repeat):
    env = wrap(Script(steps=[(0.0, False, False, None)] * 3), repeat=repeat)
    env.reset()
    with pytest.raises(ValueMismatchError, match=r"step 1 .* step\(\) returned None as its info"):
        env.step({"action": np.int32(0)})


def test_rewards_and_flags_become_plain_values():
    env = wrap(Script(steps=[(np.float64(0.5), np.bool_(True), 0, {})]))
    env.reset()
    _, reward, terminated, truncated, _ = env.step({"action": np.int32(0)})
    assert (reward, terminated, truncated) == (0.5, True, False)
    assert type(terminated) is type(truncated) is bool


@pytest.mark.parametrize("repeat", [1, 2])
def test_a_step_without_a_result_is_named(repeat):
    class Nothing(Script):
        def step(self, action):
            return None

    env = wrap(Nothing(), repeat=repeat)
    env.reset()
    with pytest.raises(ValueMismatchError, match=r"returned a NoneType, .* Return all five"):
        env.step({"action": np.int32(0)})


def test_old_interfaces_are_explained():
    class Old(Script):
        def step(self, action):
            return np.zeros(1, np.float32), 0.0, False, {}

    class Older(Script):
        def reset(self, *, seed=None, options=None):
            return np.zeros(1, np.float32)

    class Oldest(Script):
        def reset(self):
            return np.zeros(1, np.float32)

    env = wrap(Old())
    env.reset()
    with pytest.raises(ValueMismatchError, match="returned 4 values"):
        env.step({"action": np.int32(0)})
    with pytest.raises(ValueMismatchError, match="not \\(observation, info\\)"):
        wrap(Older()).reset()
    with pytest.raises(ValueMismatchError, match="'seed'\\. Define it as reset"):
        wrap(Oldest()).reset()


def test_an_environment_without_spaces_is_told():
    class Bare(gymnasium.Env):
        action_space = gs.Discrete(2)

    with pytest.raises(NotAnEnvError, match=r"'observation_space'\. Set observation_space and"):
        wrap(Bare())


class Pictures(Script):
    observation_space = gs.Dict(
        {
            "big": gs.Box(0, 255, (40, 20, 3), np.uint8),
            "deep": gs.Box(0, 255, (10, 10, 5), np.uint8),
            "fits": gs.Box(0, 255, (8, 8, 1), np.uint8),
            "vector": gs.Box(-1, 1, (2,)),
        }
    )

    def reset(self, *, seed=None, options=None):
        half = np.zeros((40, 20, 3), np.uint8)
        half[:20] = 200
        deep = np.broadcast_to(np.arange(5, dtype=np.uint8), (10, 10, 5)).copy()
        fits = np.full((8, 8, 1), 7, np.uint8)
        return {"big": half, "deep": deep, "fits": fits, "vector": np.zeros(2, np.float32)}, {}


def test_images_are_resized_and_nothing_else():
    env = wrap(Pictures(), size=(8, 8))
    obs, _ = env.reset()
    assert {key: space.shape for key, space in spaces(env)[0].items()} == {
        "big": (8, 8, 3), "deep": (8, 8, 5), "fits": (8, 8, 1), "vector": (2,),
    }  # fmt: skip
    assert env.observation_space.contains(obs)
    assert obs["big"][:3].min() == 200
    assert obs["big"][5:].max() == 0
    assert obs["deep"][3, 3].tolist() == [0, 1, 2, 3, 4]
    assert obs["fits"].tolist() == np.full((8, 8, 1), 7).tolist()


def test_bounds_can_be_ignored_but_nan_cannot():
    class Loose(Script):
        observation_space = gs.Box(-1, 1, (1,))
        value = 5.0

        def reset(self, *, seed=None, options=None):
            return np.array([self.value]), {}

    env = Loose()
    for bounds in ("warn", "ignore"):
        assert wrap(env, bounds=bounds).reset()[0]["obs"].tolist() == [5.0]
    env.value = np.nan
    with pytest.raises(ValueMismatchError, match="NaN"):
        wrap(env, bounds="ignore").reset()
    with pytest.raises(ValueMismatchError, match="NaN"):
        wrap(env, bounds="warn").reset()


@pytest.mark.parametrize("backend", ["sync", "async"])
def test_a_value_out_of_bounds_is_warned_of_once(backend, caplog):
    class Loose(gymnasium.Env):
        observation_space = gs.Dict({"a": gs.Box(-1, 1, (2,)), "b": gs.Box(0, 1, (20, 20, 3))})
        action_space = gs.Discrete(2)

        def observe(self):
            image = np.full((20, 20, 3), 1 + self.time, np.float32)
            return {"a": np.float32([0, self.time]), "b": image}

        def reset(self, *, seed=None, options=None):
            self.time = 0
            return self.observe(), {}

        def step(self, action):
            self.time += 1
            return self.observe(), 0.0, False, False, {}

    factory = lambda: wrap(Loose(), bounds="warn")  # noqa: E731
    with VectorEnv([factory] * 2, backend=backend, seeds=0) as vector:
        vector.reset()
        for time in range(1, 5):
            step = vector.step({"action": np.zeros(2, np.int32)})
            assert step["a"].tolist() == [[0, time]] * 2
            assert (step["b"] == 255).all()
    b, a = (record.getMessage() for record in caplog.records if record.levelname == "WARNING")
    assert "Loose, step 1 of the episode: observation 'b' is above its upper bound" in b
    assert "Loose, step 2 of the episode: observation 'a' is above its upper bound" in a
    assert "the value is 2.0" in a


def test_wrapping_twice_changes_nothing():
    env = wrap(Script())
    assert wrap(env) is env
    assert is_wrapped(env)
    assert not is_wrapped(env.unwrapped)
    with pytest.raises(TypeError, match="not wrapped"):
        spaces(env.unwrapped)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [({"repeat": 0}, "repeat=0"), ({"size": [8]}, "size=\\[8\\]"), ({"bounds": "x"}, "bounds='x'")],
)
def test_wrong_arguments_are_named(arguments, words):
    with pytest.raises(ValueError, match=words):
        wrap(Script(), **arguments)


def test_repeated_steps_are_shown_at_the_speed_of_single_ones():
    env = wrap(gymnasium.make("CartPole-v1"), repeat=4)
    assert env.metadata["render_fps"] == 50 / 4


def test_wrappers_by_name_come_first_and_in_their_order():
    names = ["gymnasium.wrappers:FlattenObservation", "gymnasium.wrappers:FlattenObservation"]
    inner = Script(gs.Discrete(2))
    inner.observation_space = gs.Dict({"a": gs.Discrete(3), "b": gs.Box(-1, 1, (2, 2))})
    wrapped = wrap(inner, wrappers=names, repeat=2)
    assert {key: space.shape for key, space in spaces(wrapped)[0].items()}["obs"] == (7,)
    chain = []
    while wrapped is not inner:
        chain.append(type(wrapped).__name__)
        wrapped = wrapped.env
    assert chain == ["Conform", "Prepared", "Repeat", "FlattenObservation", "FlattenObservation"]


def add_one(env):
    return gymnasium.wrappers.TransformReward(env, lambda reward: reward + 1)


def test_what_is_around_an_environment_is_not_put_there_again():
    options = {"wrappers": [f"{__name__}:add_one"], "repeat": 2}
    once = native(wrap(Script(steps=[(1.0, False, False, {})] * 4), **options))
    again = wrap(gymnasium.wrappers.TimeLimit(once, 9), **options)
    again.reset()
    assert again.step({"action": np.int32(0)})[1] == 4.0
    assert len(again.unwrapped.steps) == 2


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no_module:It", "no module 'no_module' in the current folder or on PYTHONPATH"),
        ("gymnasium.wrappers:Nothing", "gymnasium.wrappers has no function or class 'Nothing'"),
        (
            "gymnasium.wrappers:TimeLimit",
            r"'gymnasium.wrappers:TimeLimit' raised TypeError: .*missing .*'max_episode_steps'\. "
            "It is called with the environment alone",
        ),
        ("builtins:str", "It has returned a str, and no gymnasium.Env"),
    ],
)
def test_a_wrapper_that_cannot_be_is_named(name, message):
    with pytest.raises(ConfigError, match=f"env.gym.wrappers: .*{message}"):
        wrap(Script(), wrappers=[name])


class Proxy(Script):
    """Answers every attribute, as one of a remote environment does."""

    def __getattr__(self, name):
        if name.startswith("_"):
            raise AttributeError(name)
        return lambda *args: None


def test_an_environment_that_answers_everything_is_not_one_of_ours():
    wrapped = wrap(Proxy(steps=[(1.0, False, False, {})] * 2), wrappers=[f"{__name__}:add_one"])
    wrapped.reset()
    assert wrapped.step({"action": np.int32(0)})[1] == 2.0
