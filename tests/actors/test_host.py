"""Acting in parallel environments, and evaluation on top of it."""

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces as gs

from reverie.actors.evaluate import evaluate
from reverie.actors.host import HostCollector
from reverie.actors.random_policy import RandomPolicy
from reverie.envs.vector.vector import VectorEnv
from reverie.learner.nonfinite import NonFiniteError
from reverie.run.debug import check_numbers
from reverie.spaces import Space


def row(collector):
    """The one step of a rollout."""
    rollout = collector.collect()
    (found,) = rollout.rows()
    assert rollout.streams == tuple(range(len(found["is_first"])))
    assert rollout.size == len(rollout.streams)
    return found


def test_transition_holds_observation_action_and_latents_of_one_time(scripted, policy):
    collector = HostCollector(scripted([[2], [3]]), policy)
    first, second = row(collector), row(collector)
    assert first["obs"].tolist() == [0, 0]
    assert first["action"].tolist() == [1, 1]
    assert first["latent/deter"].tolist() == [[1], [1]]
    assert second["obs"].tolist() == [1, 1]
    assert second["action"].tolist() == [2, 2]
    assert "log/time" in second


def test_action_is_zero_on_the_last_step(scripted, policy):
    envs = scripted([[2], [3]])
    collector = HostCollector(envs, policy)
    actions = [row(collector)["action"].tolist() for _ in range(4)]
    assert actions == [[1, 1], [2, 2], [0, 3], [4, 0]]
    assert [a.tolist() for a in envs.actions] == actions


def test_policy_sees_observations_and_flags_but_no_logs_and_no_reward(scripted, policy):
    HostCollector(scripted([[2]]), policy, mode="eval").collect()
    assert policy.seen == [(0, ["is_first", "is_last", "is_terminal", "obs"], "eval")]


class Scribbler(gymnasium.Env):
    """Writes into its actions, as environments may."""

    observation_space = gs.Box(0, 1, (1,))
    action_space = gs.Box(0, 1, (2,), bool)

    def reset(self, *, seed=None, options=None):
        return np.zeros(1, np.float32), {}

    def step(self, action):
        action[:] = 0
        return np.zeros(1, np.float32), 0.0, False, False, {}


class FixedPolicy:
    """Always the same array, which is read-only like those of an accelerator."""

    def __init__(self):
        self.action = np.ones((1, 2), bool)
        self.action.setflags(write=False)

    def init(self, num):
        return None

    def act(self, carry, obs, mode="train"):
        return None, {"action": self.action}, {}


def test_environments_may_write_into_their_actions():
    policy = FixedPolicy()
    with VectorEnv([Scribbler], "sync") as envs:
        collector = HostCollector(envs, policy)
        seen = [row(collector)["action"].tolist() for _ in range(3)]
    assert seen == [[[1, 1]]] * 3
    assert policy.action.tolist() == [[1, 1]]


def test_evaluation_plays_a_fixed_number_of_episodes_per_environment(scripted, policy):
    result, records = evaluate(policy, scripted([[1], [9]]), 5)
    assert result.scores == (1, 1, 1, 90, 90)
    assert result.lengths == (1, 1, 1, 9, 9)
    assert len(records) == 5
    assert policy.seen[0][2] == "eval"
    assert result.mean_score == pytest.approx(36.6)
    assert str(result) == "mean return 36.6 +- 44 over 5 episodes"
    assert result.to_json()["score_mean"] == pytest.approx(36.6)


def test_evaluation_waits_for_no_step_after_the_last_one(scripted, policy):
    envs = scripted([[5]])
    evaluate(policy, envs, 1)
    assert envs.time.tolist() == [5]


def test_evaluation_of_nothing_is_refused(scripted, policy):
    with pytest.raises(ValueError, match="at least one episode, got 0"):
        evaluate(policy, scripted([[1]]), 0)


SPACES = {
    "move": Space("discrete", (2,), "int32", (3, 2)),
    "push": Space("continuous", (3,), "float32"),
}


def test_random_policy_covers_the_spaces_and_repeats_after_restoring():
    policy = RandomPolicy(SPACES, seed=1)
    obs = {"is_first": np.zeros(500, bool)}
    _, actions, latents = policy.act(None, obs)
    assert latents == {}
    assert actions["move"].dtype == np.int32
    assert set(actions["move"][:, 0]) == {0, 1, 2}
    assert set(actions["move"][:, 1]) == {0, 1}
    assert actions["push"].dtype == np.float32
    assert -1 <= actions["push"].min() < -0.9
    assert 0.9 < actions["push"].max() <= 1
    restored = RandomPolicy(SPACES, seed=1)
    restored.restore(policy.counters)
    one, two = policy.act(None, obs)[1], restored.act(None, obs)[1]
    np.testing.assert_array_equal(one["push"], two["push"])
    assert not np.array_equal(one["push"], actions["push"])


def test_debug_check_names_key_and_index():
    good = {"a": np.array([1.0, -np.inf]), "log/x": np.array([np.nan]), "n": np.arange(3)}
    check_numbers(good, "transition")
    with pytest.raises(NonFiniteError, match=r"a at index \(0, 1\) of the batch is nan"):
        check_numbers({**good, "a": np.array([[0.0, np.nan]])}, "batch")
