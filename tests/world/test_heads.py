"""Reward, continue and policy heads."""

import jax
import jax.numpy as jnp
import numpy as np
from fixed_draws import FixedDraws

from reverie.config.sections.agent import ContinueHeadConfig, PolicyConfig, RewardHeadConfig
from reverie.nn.dists import Categorical, Normal
from reverie.nn.draws import Draws
from reverie.spaces import Space
from reverie.world.heads import ContinueHead, PolicyHead, TwoHotHead

KEY = jax.random.key(0)
ACTIONS = {
    "buttons": Space("discrete", (2,), "int32", (2, 3)),
    "stick": Space("continuous", (2,), "float32"),
}


def features(*batch):
    return jnp.asarray(np.random.default_rng(0).normal(size=(*batch, 6)), jnp.float32)


def policy(**options):
    config = PolicyConfig(layers=2, units=8, **options)
    return PolicyHead(6, ACTIONS, **config.model_dump(), key=KEY)


def test_reward_is_exactly_zero_at_the_start():
    head = TwoHotHead(6, **RewardHeadConfig(units=8).model_dump(), key=KEY)
    np.testing.assert_array_equal(head(features(2, 3)).pred(), np.zeros((2, 3)))


def test_continue_is_a_probability_per_step():
    head = ContinueHead(6, **ContinueHeadConfig(units=8).model_dump(), key=KEY)
    prob = head(features(2, 3)).prob()
    assert prob.shape == (2, 3)
    assert 0 < float(prob.min()) < float(prob.max()) < 1


def test_one_distribution_per_action_key():
    dists = policy()(features(2, 3))
    assert {k: type(d) for k, d in dists.items()} == {"buttons": Categorical, "stick": Normal}
    for key, noise in (("buttons", jnp.full((2, 3, 2), 0.5)), ("stick", jnp.zeros((2, 3, 2)))):
        action = dists[key].sample(Draws(), noise)
        assert action.shape == dists[key].mode().shape == (2, 3, *ACTIONS[key].shape)
        assert dists[key].log_prob(action).shape == dists[key].entropy().shape == (2, 3)


def test_mean_and_deviation_stay_in_their_bounds():
    dist = policy(outscale=100.0, minstd=0.2, maxstd=0.7)(features(50))["stick"]
    assert 0.99 < float(jnp.abs(dist.mean).max()) <= 1
    np.testing.assert_allclose([dist.stddev.min(), dist.stddev.max()], [0.2, 0.7], atol=1e-3)
    # Not squashed: a sample may leave the range of the mean.
    samples = dist.sample(FixedDraws(), jnp.full((50, 2), 3.0))
    assert float(samples.max()) > 1


def test_deviation_at_the_start():
    dist = policy(outscale=0.0)(features(1))["stick"]
    np.testing.assert_allclose(dist.stddev, 0.9 / (1 + np.exp(-2)) + 0.1, rtol=1e-5)


def test_uniform_mix_holds_for_each_entry_of_an_action():
    logits = policy(outscale=1000.0, unimix=0.3)(features(50))["buttons"].logits
    for probs in (jnp.exp(logits[:, :2]), jnp.exp(logits[:, 2:])):
        np.testing.assert_allclose(probs.sum(-1), 1, rtol=1e-5)
        np.testing.assert_allclose(probs.min(), 0.3 / probs.shape[-1], rtol=1e-3)
