"""Engines that step environments together: spaces, values, seeds, ends, errors."""

import dataclasses
import importlib.util
import pathlib
import re

import numpy as np
import pytest
from gymnasium import spaces as gs

from reverie.catalog import SUITES
from reverie.config.load import load
from reverie.envs.errors import SpaceError, ValueMismatchError
from reverie.envs.images import resize
from reverie.envs.registry import factory_of
from reverie.envs.vector.batched import BatchedVectorEnv, Engine
from reverie.envs.vector.vector import VectorEnv
from reverie.errors import ConfigError
from reverie.run.environments.source import EnvSource
from reverie.run.parts.build import vector_env


class Counters(Engine):
    """Environment `i` counts to `i + 2`; the odd ones end by truncation. Shows what it was given.

    Engines may return anything in the step that starts an episode, such as this one's reward.
    """

    name = "counters"
    observation_space = gs.Dict(
        {
            "count": gs.Discrete(9, start=1),
            "pair": gs.MultiDiscrete([9, 9]),
            "bits": gs.MultiBinary(2),
            "deep": gs.Dict({"image": gs.Box(0, 255, (4, 3, 3), np.uint8)}),
            "shift": gs.Box(-5, 5, (2,), np.float64),
            "nothing": gs.Box(-1, 1, (0,)),
        }
    )
    action_space = gs.Dict(
        {
            "move": gs.Box(np.float32([-2, 0]), np.float32([4, 1])),
            "pick": gs.Discrete(3, start=5),
        }
    )

    def __init__(self, num_envs):
        self.num_envs = num_envs
        self.limits = np.arange(num_envs) + 2
        self.seeds, self.sent, self.spoil, self.closed = [], None, None, 0

    def reset(self, seeds):
        self.seeds.append(seeds)
        self.count = np.zeros(self.num_envs, np.int64)
        self.over = np.zeros(self.num_envs, bool)
        return self.obs(np.zeros((self.num_envs, 2))), {}

    def send(self, actions):
        self.sent = actions

    def recv(self):
        self.count = np.where(self.over, 0, self.count + 1)
        ends = self.count == self.limits
        odd = self.limits % 2 == 1
        self.over = ends
        logs = {"log/even": np.where(odd, np.nan, 1.0)}
        return (
            self.obs(self.sent["move"]),
            np.full(self.num_envs, 0.5),
            ends & ~odd,
            ends & odd,
            logs,
        )

    def obs(self, move):
        count, shape = self.count, (self.num_envs, 4, 3, 3)
        obs = {
            "count": count + 1,
            "pair": np.stack([count, count], 1),
            "bits": np.stack([count % 2, count // 2 % 2], 1).astype(np.int8),
            "deep": {"image": np.broadcast_to(count[:, None, None, None], shape).astype(np.uint8)},
            "shift": np.array(move, np.float64),
            "nothing": np.zeros((self.num_envs, 0), np.float32),
        }
        if self.spoil:
            self.spoil(obs)
        return obs

    def close(self):
        self.closed += 1


def counters(num=2, **options):
    engine = Counters(num)
    batched = BatchedVectorEnv(engine, seeds=range(num), **options)
    return engine, VectorEnv([None] * num, "native", 7, engine=batched)


def test_an_engine_speaks_transitions():
    engine, vector = counters()
    record = [vector.reset()]
    actions = {"move": np.float32([[0.5, -9], [-1, 1]]), "pick": np.int32([0, 2])}
    record += [vector.step(actions) for _ in range(5)]
    stacked = {
        key: np.stack([each[key] for each in record], 1) for key in record[1] if key[0] != "l"
    }
    assert stacked["count"].tolist() == [[0, 1, 2, 0, 1, 2], [0, 1, 2, 3, 0, 1]]
    assert stacked["reward"].tolist() == [[0, 0.5, 0.5, 0, 0.5, 0.5], [0, 0.5, 0.5, 0.5, 0, 0.5]]
    assert stacked["is_first"].astype(int).tolist() == [[1, 0, 0, 1, 0, 0], [1, 0, 0, 0, 1, 0]]
    assert stacked["is_last"].astype(int).tolist() == [[0, 0, 1, 0, 0, 1], [0, 0, 0, 1, 0, 0]]
    assert stacked["is_terminal"].astype(int).tolist() == [[0, 0, 1, 0, 0, 1], [0] * 6]
    assert {key: (value.dtype.name, value.shape[2:]) for key, value in stacked.items()} == {
        "count": ("int32", ()), "pair": ("int32", (2,)), "bits": ("bool", (2,)),
        "deep/image": ("uint8", (4, 3, 3)), "shift": ("float32", (2,)), "reward": ("float32", ()),
        "is_first": ("bool", ()), "is_last": ("bool", ()), "is_terminal": ("bool", ()),
    }  # fmt: skip
    np.testing.assert_array_equal(record[1]["log/even"], [1, np.nan])
    # Actions reach the engine in its own units, clipped to its bounds.
    assert engine.sent["pick"].tolist() == [5, 7]
    np.testing.assert_allclose(engine.sent["move"], [[2.5, 0], [-2, 1]])
    assert vector.backend == "native"
    assert "engine" in vector.choice
    vector.close()
    vector.close()
    assert engine.closed == 1


def test_a_step_that_is_under_way_ends_before_a_reset(monkeypatch):
    engine, vector = counters()
    vector.reset()
    vector.step_async({"move": np.zeros((2, 2), np.float32), "pick": np.zeros(2, np.int32)})
    calls = []
    for name in ("recv", "reset"):
        call = getattr(engine, name)
        spy = lambda *args, name=name, call=call: (calls.append(name), call(*args))[1]  # noqa: E731
        monkeypatch.setattr(engine, name, spy)
    assert vector.reset()["is_first"].all()
    assert calls == ["recv", "reset"]


def test_seeds_reach_every_environment():
    engine, vector = counters()
    vector.reset()
    vector.reset()
    alone = Counters(2)
    native = BatchedVectorEnv(alone, seeds=[3, 4])
    native.reset()
    native.reset()
    native.reset(seed=8)
    assert alone.seeds == [[3, 4], None, [8, 9]]
    assert engine.seeds[0] == engine.seeds[1]
    assert len(set(engine.seeds[0])) == 2


def test_earlier_transitions_of_an_engine_do_not_change():
    _, vector = counters()
    first = vector.reset()
    kept = {key: value.copy() for key, value in first.items()}
    vector.step({"move": np.ones((2, 2), np.float32), "pick": np.zeros(2, np.int32)})
    for key, value in kept.items():
        np.testing.assert_array_equal(first[key], value)


def test_images_of_an_engine_are_resized_one_by_one():
    engine, vector = counters(size=(2, 6))
    assert vector.obs_space["deep/image"].shape == (2, 6, 3)
    shown = np.random.default_rng(0).integers(256, size=(2, 4, 3, 3), dtype=np.uint8)
    engine.spoil = lambda obs: obs["deep"].update(image=shown)
    images = vector.reset()["deep/image"]
    for image, original in zip(images, shown, strict=True):
        np.testing.assert_array_equal(image, resize(original, (2, 6)))


def test_wrong_values_of_an_engine_name_environment_step_and_key():
    engine, vector = counters()
    actions = {"move": np.zeros((2, 2), np.float32), "pick": np.zeros(2, np.int32)}
    vector.reset()
    vector.step(actions)
    engine.spoil = lambda obs: obs["shift"].__setitem__((1, 0), np.nan)
    with pytest.raises(
        ValueMismatchError, match=r"counters, environment 1, step 2 .*'shift' is NaN"
    ):
        vector.step(actions)
    engine.spoil = lambda obs: obs["shift"].__setitem__((0, 1), 7)
    with pytest.raises(ValueMismatchError, match=r"environment 0, .*'shift' is above its upp"):
        vector.step(actions)
    engine.spoil = lambda obs: obs["count"].__setitem__(0, 12)
    with pytest.raises(ValueMismatchError, match=r"environment 0, .*observation 'count' is .*out"):
        vector.step(actions)
    engine.spoil = None
    with pytest.raises(ValueMismatchError, match=r"counters, environment 0, .*action 'move' is"):
        vector.step({**actions, "move": np.full((2, 2), np.nan, np.float32)})
    engine, vector = counters(bounds="ignore")
    engine.spoil = lambda obs: obs["shift"].fill(7)
    assert vector.reset()["shift"].tolist() == [[7, 7], [7, 7]]


def test_spaces_that_the_agent_cannot_use_are_refused():
    class Talkers(Counters):
        observation_space = gs.Text(5)

    with pytest.raises(SpaceError, match="counters: The observation 'observation' is a Text"):
        BatchedVectorEnv(Talkers(2), seeds=[0, 1])


def test_native_without_an_engine_is_an_error():
    with pytest.raises(ValueError, match="backend='native': these environments have no engine"):
        VectorEnv([factory_of("dummy_disc")], "native")
    with pytest.raises(ValueError, match="engine has 2 environments, factories 3"):
        VectorEnv([factory_of("dummy_disc")] * 3, engine=BatchedVectorEnv(Counters(2), [0, 1]))
    config = load(["--task", "dummy_disc", "--run.env_backend", "native"])
    having = "run.env_backend is native, but 'dummy_disc' has no .*suite that has one: envpool."
    with pytest.raises(ConfigError, match=having):
        vector_env(EnvSource(config.task, config.env), config.run, 0)


def test_the_engine_of_a_suite_is_taken_unless_environments_are_filmed(monkeypatch):
    def make_vec(task, num, options, seed):
        return BatchedVectorEnv(Counters(num), range(num))

    monkeypatch.setattr("reverie.envs.registry.make_vec", make_vec)
    monkeypatch.setitem(SUITES, "dummy", dataclasses.replace(SUITES["dummy"], batched=True))
    config = load(["--task", "dummy_disc", "--run.envs", "2"])

    def choice(backend, **options):
        run = config.run.model_copy(update={"env_backend": backend})
        with vector_env(EnvSource(config.task, config.env, **options), run, 0) as vector:
            return vector.backend

    assert choice("auto") == choice("native") == "native"
    assert choice("sync") == "sync"
    assert choice("native", filmed=True) == choice("native", max_steps=9) == "sync"


def test_suites_are_where_the_catalog_says_and_have_the_engines_that_it_promises():
    for suite in SUITES.values():
        found = importlib.util.find_spec(suite.module or f"reverie.envs.suites.{suite.name}")
        source = pathlib.Path(found.origin).read_text()
        assert re.search(r"^(def make\(|make = )", source, re.MULTILINE), suite.name
        assert ("def make_vec(" in source) == suite.batched, suite.name
