"""What acts: parameters on one device, draws by the number of calls, and no learner."""

import jax
import numpy as np
import pytest

from reverie.learner.checkpoints.checkpoint import Checkpointer, CheckpointError
from reverie.learner.nonfinite import NonFiniteError
from reverie.learner.policy import Params, read_params


@pytest.fixture
def params():
    kernel = np.random.default_rng(0).normal(size=(3, 3)).astype(np.float32)
    return Params(5, [kernel, np.ones(3, np.float32)])


@pytest.fixture
def policy(make_policy, params):
    return make_policy(params)


def test_it_acts_with_the_parameters_that_it_was_given_last(policy, params, obs):
    assert policy.version == 5
    latents = policy.act(policy.init(2), obs)[2]["latent/deter"]
    np.testing.assert_allclose(latents, params.leaves[0][:2], rtol=1e-5)
    policy.set_params(Params(6, [2 * x for x in params.leaves]))
    assert policy.version == 6
    twice = policy.act(policy.init(2), obs)[2]["latent/deter"]
    np.testing.assert_allclose(twice, 2 * latents, rtol=1e-5)


def test_the_same_parameters_are_not_copied_again(policy, params, monkeypatch):
    monkeypatch.setattr(jax, "device_put", None)
    policy.set_params(params)


def test_it_carries_its_state_and_resets_it_on_first(policy, obs):
    carry = policy.init(2)
    carry, _, one = policy.act(carry, obs)
    _, _, two = policy.act(carry, obs)
    np.testing.assert_allclose(two["latent/deter"][0], one["latent/deter"][0])
    np.testing.assert_allclose(two["latent/deter"][1], 2 * one["latent/deter"][1], rtol=1e-6)


def test_modes_differ_and_eval_repeats(policy, obs):
    carry = policy.init(2)
    sampled = [policy.act(carry, obs, mode="train")[1]["action"] for _ in range(2)]
    greedy = [policy.act(carry, obs, mode="eval")[1]["action"] for _ in range(2)]
    assert not np.allclose(*sampled)
    np.testing.assert_array_equal(*greedy)
    assert policy.counters == {"train_calls": 2, "eval_calls": 2}


def test_draws_go_on_where_the_counters_were_taken(make_policy, policy, params, obs):
    policy.act(policy.init(2), obs)
    other = make_policy(params)
    other.restore({**policy.counters, "updates": 3})
    one, two = (x.act(x.init(2), obs)[1]["action"] for x in (policy, other))
    np.testing.assert_array_equal(one, two)


def test_it_gives_numpy_and_takes_what_it_does_not_need(policy, obs):
    more = {**obs, "log/time": np.zeros(2), "reward": np.zeros(2), "is_last": np.zeros(2, bool)}
    _, actions, latents = policy.act(policy.init(2), more)
    assert type(actions["action"]) is np.ndarray
    assert type(latents["latent/deter"]) is np.ndarray


def test_a_prepared_number_of_environments_is_traced_once(policy, obs, agent, monkeypatch):
    traced, act = [], agent.policy
    monkeypatch.setattr(
        agent, "policy", lambda *a, **k: (traced.append(k["mode"]), act(*a, **k))[1]
    )
    policy.prepare(2)
    policy.act(policy.init(2), obs)
    policy.act(policy.init(2), obs)
    assert traced == ["train"]


def test_it_acts_on_the_device_of_the_callers_choice(make_policy, placement, params, agent, obs):
    policy = make_policy(params)
    assert policy.device == placement.policy
    carry, _, _ = policy.act(policy.init(2), obs)
    assert carry["deter"].devices() == {placement.policy}


def test_nan_action_stops_and_dumps_the_observation(make_policy, params, obs, tmp_path):
    policy = make_policy(params, dump_folder=tmp_path)
    obs["obs"][1, 0] = np.inf
    with pytest.raises(NonFiniteError, match="action"):
        policy.act(policy.init(2), obs)
    with np.load(tmp_path / "nonfinite" / "policy-0" / "arrays.npz") as saved:
        assert np.isinf(saved["obs"][1, 0])


def test_parameters_of_a_checkpoint_come_to_the_device(make_learner, agent, placement, tmp_path):
    learner = make_learner()
    Checkpointer(tmp_path).save(7, learner.arrays(), {"counters": {"updates": 4}})
    params, saved = read_params(tmp_path, agent, placement.policy)
    assert (params.version, saved.step) == (4, 7)
    for mine, wanted in zip(params.leaves, learner.acting().leaves, strict=True):
        assert mine.devices() == {placement.policy}
        np.testing.assert_array_equal(mine, wanted)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"params/policy": np.ones(4, np.float32)},
            r"params/policy is \(4,\), the agent's",
        ),
        ({"params/other": np.ones(4, np.float32)}, "the agent has no array params/other"),
        ({"params/policy": None}, r"has no array \['params/policy'\], which the agent"),
    ],
)
def test_parameters_that_do_not_fit_are_named(make_learner, agent, tmp_path, change, message):
    arrays = {k: x for k, x in {**make_learner().arrays(), **change}.items() if x is not None}
    Checkpointer(tmp_path).save(7, arrays, {})
    with pytest.raises(CheckpointError, match=message):
        read_params(tmp_path, agent)
