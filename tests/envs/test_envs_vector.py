"""Vectors of environments: transitions, autoreset, seeds, and both backends alike."""

import logging
import os
import sys
import time

import cloudpickle
import gymnasium
import numpy as np
import pytest
from gymnasium import spaces as gs

from reverie.envs.errors import SpaceError, ValueMismatchError, WorkerError
from reverie.envs.flat.leaves import random_actions
from reverie.envs.registry import factory_of
from reverie.envs.vector.seeds import env_seeds
from reverie.envs.vector.vector import VectorEnv

# Worker processes cannot import test files, so what is defined here travels by value.
cloudpickle.register_pickle_by_value(sys.modules[__name__])

BACKENDS = ["sync", "async"]


class Counter(gymnasium.Env):
    """Counts steps; ends after `length`, by termination if that is even. Rewards the action."""

    observation_space = gs.Box(0, 100, (1,), np.float64)
    action_space = gs.Box(-1.0, 1.0, (), np.float64)

    def __init__(self, length, **given):
        self.length = length
        self.given = given

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.time = 0
        return np.zeros(1), {"log/start": 1.0}

    def step(self, action):
        self.time += 1
        over = self.time == self.length
        even = self.length % 2 == 0
        info = {"secret": object(), **self.given}
        return np.full(1, self.time), float(action), over and even, over and not even, info


class Noise(gymnasium.Env):
    observation_space = gs.Box(-np.inf, np.inf, (2,))
    action_space = gs.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self.np_random.normal(size=2).astype(np.float32), {}

    def step(self, action):
        return self.np_random.normal(size=2).astype(np.float32), 0.0, False, False, {}


def rollout(vector, steps, rng=None):
    """Transitions of a reset and random steps."""
    rng = rng or np.random.default_rng(0)
    record = [vector.reset()]
    for _ in range(steps):
        record.append(vector.step(random_actions(vector.act_space, vector.num_envs, rng)))
    return record


@pytest.mark.parametrize("backend", BACKENDS)
def test_flags_and_rewards_follow_the_episodes(backend):
    lengths = [2, 3]
    with VectorEnv([lambda n=n: Counter(n) for n in lengths], backend, seeds=0) as vector:
        record = [vector.reset()]
        record += [vector.step({"action": np.float32([0.5, -7.0])}) for _ in range(4)]
    stacked = {key: np.stack([t[key] for t in record], 1) for key in record[0] if key[0] != "l"}
    assert stacked["obs"][..., 0].tolist() == [[0, 1, 2, 0, 1], [0, 1, 2, 3, 0]]
    assert stacked["reward"].tolist() == [[0, 0.5, 0.5, 0, 0.5], [0, -1, -1, -1, 0]]
    assert stacked["is_first"].astype(int).tolist() == [[1, 0, 0, 1, 0], [1, 0, 0, 0, 1]]
    assert stacked["is_last"].astype(int).tolist() == [[0, 0, 1, 0, 0], [0, 0, 0, 1, 0]]
    assert stacked["is_terminal"].astype(int).tolist() == [[0, 0, 1, 0, 0], [0, 0, 0, 0, 0]]
    assert {key: value.dtype.name for key, value in stacked.items()} == {
        "obs": "float32", "reward": "float32", "is_first": "bool", "is_last": "bool",
        "is_terminal": "bool",
    }  # fmt: skip


@pytest.mark.parametrize("backend", BACKENDS)
def test_infos_become_log_keys_with_nan_where_absent(backend):
    factories = [lambda: Counter(9, **{"log/a": 2, "log/b": np.float64(3)}), lambda: Counter(9)]
    with VectorEnv(factories, backend) as vector:
        first = vector.reset()
        second = vector.step({"action": np.zeros(2, np.float32)})
    assert first["log/start"].tolist() == [1.0, 1.0]
    assert sorted(key for key in second if key.startswith("log/")) == ["log/a", "log/b"]
    assert second["log/a"].dtype == np.float32
    np.testing.assert_array_equal(second["log/a"], [2, np.nan])
    np.testing.assert_array_equal(second["log/b"], [3, np.nan])
    assert "secret" not in second


@pytest.mark.parametrize("value", ["text", np.zeros(2), None])
def test_log_values_that_are_no_numbers_are_named(value):
    with VectorEnv([lambda: Counter(9, **{"log/a": value})], "sync") as vector:
        vector.reset()
        with pytest.raises(ValueMismatchError, match=r"Counter: info\['log/a'\] is .*Return a num"):
            vector.step({"action": np.zeros(1, np.float32)})


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_reset_while_a_step_is_under_way_begins_an_episode(backend):
    action = {"action": np.zeros(2, np.float32)}
    with VectorEnv([lambda: Counter(9)] * 2, backend) as vector:
        vector.reset()
        vector.step(action)
        vector.step_async(action)
        first = vector.reset()
        assert (first["obs"][:, 0].tolist(), first["is_first"].tolist()) == ([0, 0], [True, True])
        assert vector.step(action)["obs"][:, 0].tolist() == [1, 1]


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_an_environment_calls_warnings_is_its_own(backend, caplog):
    factory = lambda: Counter(9, warnings={"low": lambda: "battery"})  # noqa: E731
    with VectorEnv([factory], backend) as vector:
        rollout(vector, 2)
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_both_backends_give_the_same_transitions():
    found = []
    for backend in BACKENDS:
        factories = [factory_of("dummy_hybrid", {"length": 7, "size": [8, 8]})] * 3
        with VectorEnv(factories, backend, seeds=3) as vector:
            found.append(rollout(vector, 20))
            assert vector.backend == backend
    for one, two in zip(*found, strict=True):
        assert one.keys() == two.keys()
        for key in one:
            assert one[key].dtype == two[key].dtype, key
            np.testing.assert_array_equal(one[key], two[key], err_msg=key)


def test_a_second_close_does_nothing():
    closed = []

    class Closing(Noise):
        def close(self):
            closed.append(self)

    with VectorEnv([Closing] * 2, "sync", seeds=0) as vector:
        vector.reset()
        vector.close()
    assert len(closed) == 2


@pytest.mark.parametrize("backend", BACKENDS)
def test_earlier_transitions_do_not_change(backend):
    with VectorEnv([factory_of("dummy_disc", {"length": 5})] * 2, backend, seeds=0) as vector:
        first = vector.reset()
        action = {"action": np.zeros(2, np.int32)}
        kept = [first, vector.step(action)]
        before = [{key: value.copy() for key, value in each.items()} for each in kept]
        for _ in range(6):
            vector.step(action)
    for old, new in zip(before, kept, strict=True):
        for key in old:
            np.testing.assert_array_equal(old[key], new[key], err_msg=key)
            assert new[key].flags.writeable


@pytest.mark.parametrize("backend", BACKENDS)
def test_environments_may_show_what_they_draw_into_together(backend):
    screen = np.zeros(2, np.float32)

    class Shown(Noise):
        def reset(self, *, seed=None, options=None):
            self.seed = seed % 1000
            screen[:] = self.seed, 0
            return screen, {}

        def step(self, action):
            screen[:] = self.seed, 1
            return screen, 0.0, False, False, {}

    with VectorEnv([Shown] * 2, backend, seeds=[3, 4]) as vector:
        assert vector.reset()["obs"].tolist() == [[3, 0], [4, 0]]
        assert vector.step({"action": np.zeros(2, np.int32)})["obs"].tolist() == [[3, 1], [4, 1]]


@pytest.mark.parametrize("backend", BACKENDS)
def test_environments_are_seeded_apart_and_repeatably(backend):
    def play(seeds):
        with VectorEnv([Noise] * 3, backend, seeds=seeds) as vector:
            return np.stack([each["obs"] for each in rollout(vector, 2)])

    once = play(5)
    np.testing.assert_array_equal(once, play(5))
    np.testing.assert_array_equal(once, play(env_seeds(5, 3)))
    assert len({tuple(row) for row in once[0]}) == 3
    assert not np.array_equal(once, play(6))


def test_seeds_do_not_depend_on_the_number_of_environments():
    assert env_seeds(7, 5)[:2] == env_seeds(7, 2)
    assert len({*env_seeds(0, 50), *env_seeds(1, 50)}) == 100
    assert all(0 <= seed < 2**31 for seed in env_seeds(123, 50))


def test_global_random_generators_differ_between_processes():
    class Global(Noise):
        def reset(self, *, seed=None, options=None):
            return np.random.normal(size=2).astype(np.float32), {}

    with VectorEnv([Global] * 2, "async", seeds=1) as vector:
        once = vector.reset()["obs"]
    with VectorEnv([Global] * 2, "async", seeds=1) as vector:
        np.testing.assert_array_equal(once, vector.reset()["obs"])
    assert not np.array_equal(once[0], once[1])


@pytest.mark.parametrize("backend", BACKENDS)
def test_environments_may_keep_their_actions(backend):
    class Hoarder(gymnasium.Env):
        observation_space = gs.Box(-9, 9, (2,))
        action_space = gs.Box(-1, 1, (2,))

        def reset(self, *, seed=None, options=None):
            self.kept = []
            return np.zeros(2, np.float32), {}

        def step(self, action):
            self.kept.append(action)
            return self.kept[0], 0.0, False, False, {}

    with VectorEnv([Hoarder], backend) as vector:
        vector.reset()
        vector.step({"action": np.float32([[0.25, 0.5]])})
        later = vector.step({"action": np.float32([[-1.0, -1.0]])})
    assert later["obs"].tolist() == [[0.25, 0.5]]


def test_workers_step_while_the_caller_does_something_else(tmp_path):
    class Waiting(Noise):
        """Ends no step before the caller has seen all of them begin."""

        def step(self, action):
            (tmp_path / str(os.getpid())).touch()
            while not (tmp_path / "seen").exists():
                time.sleep(0.005)
            return super().step(action)

    with VectorEnv([Waiting] * 2, "async", seeds=0) as vector:
        vector.reset()
        vector.step_async({"action": np.zeros(2, np.int32)})
        while len(list(tmp_path.iterdir())) < 2:
            time.sleep(0.005)
        (tmp_path / "seen").touch()
        vector.step_wait()


@pytest.mark.parametrize("backend", BACKENDS)
def test_calls_out_of_order_are_errors(backend):
    action = {"action": np.zeros(1, np.int32)}
    with VectorEnv([Noise], backend) as vector:
        vector.reset()
        with pytest.raises(RuntimeError, match="without step_async"):
            vector.step_wait()
        vector.step_async(action)
        with pytest.raises(RuntimeError, match="called twice"):
            vector.step_async(action)
        assert vector.reset()["is_first"].all()
        assert not vector.step(action)["is_first"].any()


def test_wrong_actions_are_named():
    with VectorEnv([Noise] * 2, "sync") as vector:
        vector.reset()
        with pytest.raises(KeyError, match="'action' is missing"):
            vector.step({"move": np.zeros(2, np.int32)})
        with pytest.raises(ValueError, match=r"'action' has shape \(3,\), expected \(2,\)"):
            vector.step({"action": np.zeros(3, np.int32)})
        extra = {"action": np.zeros(2, np.int32), "latent/deter": np.zeros((2, 8))}
        assert vector.step(extra)["obs"].shape == (2, 2)


@pytest.mark.parametrize("backend", BACKENDS)
def test_environments_must_agree_on_their_spaces(backend):
    class Other(Noise):
        action_space = gs.Discrete(3)

    with pytest.raises(SpaceError, match="Environment 1 has the spaces"):
        VectorEnv([Noise, Other], backend)


def test_auto_is_a_rule_and_says_what_it_chose(caplog):
    with caplog.at_level(logging.INFO, "reverie.envs"), VectorEnv([Noise] * 2, "auto") as vector:
        assert vector.backend == "sync"
        assert "run.env_backend async" in vector.choice
        assert vector.choice in caplog.text
    with VectorEnv([Noise], "auto", slow=True) as vector:
        assert vector.backend == "sync"


def test_auto_uses_processes_for_suites_that_are_slow():
    with VectorEnv([Noise] * 2, "auto", slow=True) as vector:
        assert vector.backend == "async"
        assert "a process" in vector.choice


def test_factories_that_cannot_travel():
    import threading

    lock = threading.Lock()

    def factory():
        assert lock
        return Noise()

    with pytest.raises(ValueError, match="cannot be pickled"):
        VectorEnv([factory] * 2, "async")
    with VectorEnv([factory] * 2, "auto", slow=True) as vector:
        assert vector.backend == "sync"
        assert "cannot be pickled" in vector.choice


def test_wrong_arguments_are_named():
    with pytest.raises(ValueError, match="backend='fork'"):
        VectorEnv([Noise], "fork")
    with pytest.raises(ValueError, match="factories is empty"):
        VectorEnv([])
    with pytest.raises(ValueError, match="3 seeds for 2 environments"):
        VectorEnv([Noise] * 2, "sync", seeds=[1, 2, 3])


def test_spaces_errors_in_a_worker_reach_the_caller():
    class Talker(Noise):
        observation_space = gs.Text(5)

    with pytest.raises(WorkerError, match="Talker: The observation 'observation' is a Text space"):
        VectorEnv([Talker], "async")


def test_tiny_numbers_pass_where_numpy_is_to_raise():
    class Tiny(Counter):
        def step(self, action):
            obs, _, *rest = super().step(action)
            return np.full_like(obs, 1e-300, np.float64), 1e-300, *rest

    with VectorEnv([lambda: Tiny(3)], "sync") as vector, np.errstate(all="raise"):
        vector.reset()
        found = vector.step({"action": np.zeros(1, np.float32)})
    assert found["reward"] == 0


def test_the_raw_return_is_logged_beside_changed_rewards():
    def build():
        env = gymnasium.wrappers.RecordEpisodeStatistics(gymnasium.make("CartPole-v1"))
        return gymnasium.wrappers.TransformReward(env, lambda reward: reward / 10)

    with VectorEnv([build], backend="sync", seeds=0) as vector:
        transition, length = vector.reset(), 0
        while not transition["is_last"][0]:
            transition = vector.step({"action": np.zeros(1, np.int32)})
            length += 1
        assert transition["log/raw_return"].tolist() == [length]


def test_processes_keep_off_the_accelerator():
    class Asks(gymnasium.Env):
        observation_space = gymnasium.spaces.Box(0, 1, (2,))
        action_space = gymnasium.spaces.Discrete(2)

        def reset(self, *, seed=None, options=None):
            import os

            cpu = os.environ["JAX_PLATFORMS"] == "cpu"
            modest = os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] == "false"
            return np.array([cpu, modest], np.float32), {}

    with VectorEnv([Asks], backend="async", seeds=0) as vector:
        assert vector.reset()["obs"].all()
