"""The recurrent state-space model, through small instances of it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from fixed_draws import FixedDraws

from reverie.config.sections.agent import DynamicsConfig
from reverie.nn.draws import Draws
from reverie.nn.layers import from_blocks
from reverie.world.rssm import RSSM, State, entropy

B, T, TOKENS, ACTION, S, C, D = 2, 4, 5, 3, 3, 4, 16
DRAWS = Draws()


def make(**options):
    config = DynamicsConfig(deter=D, hidden=6, stoch=S, classes=C, blocks=4, **options)
    return RSSM(TOKENS, ACTION, **config.model_dump(), key=jax.random.key(0))


@jax.jit
def observe(rssm, state, *inputs):
    return rssm.observe(state, *inputs, DRAWS)


def inputs(seed=0):
    rng = np.random.default_rng(seed)
    tokens = jnp.asarray(rng.normal(size=(B, T, TOKENS)), jnp.float32)
    action = jnp.asarray(rng.normal(size=(B, T, ACTION)), jnp.float32)
    noise = jnp.asarray(rng.uniform(size=(B, T, S)), jnp.float32)
    return tokens, action, jnp.zeros((B, T), bool), noise


def some_state(seed=0):
    rng = np.random.default_rng(seed)
    deter = jnp.asarray(rng.normal(size=(B, D)), jnp.float32)
    return State(deter, jnp.asarray(rng.integers(0, C, (B, S)), jnp.int32))


def before_an_episode(dtype):
    return State(jnp.zeros((B, D), dtype), jnp.full((B, S), -1, jnp.int32))


def close(a, b):
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_allclose(x, y, atol=1e-5)


@pytest.mark.parametrize("options", [{}, {"absolute": True}, {"obslayers": 2, "dynlayers": 2}])
def test_a_sequence_equals_its_steps_one_by_one(options):
    rssm, arrays = make(**options), inputs()
    last, post = observe(rssm, some_state(), *arrays)
    state = some_state()
    for t in range(T):
        state, step = observe(rssm, state, *(x[:, t : t + 1] for x in arrays))
        close(step, jax.tree.map(lambda x, t=t: x[:, t : t + 1], post))
    close(state, last)


def test_shapes_and_samples_of_the_posterior():
    _, post = observe(make(), some_state(), *inputs())
    assert post.deter.shape == (B, T, D)
    assert post.stoch.shape == (B, T, S)
    assert post.logits.shape == post.onehot.shape == (B, T, C, S)
    np.testing.assert_allclose(post.onehot.argmax(-2), post.stoch)
    np.testing.assert_allclose(jnp.exp(post.logits).sum(-2), 1, rtol=1e-5)


def test_a_reset_forgets_state_and_previous_action():
    rssm = make()
    tokens, action, reset, noise = inputs()
    reset = reset.at[0, 2].set(True)
    _, first = observe(rssm, some_state(0), tokens, action, reset, noise)
    other = action.at[:, :3].add(1.0)
    before = tokens.at[:, :2].add(1.0)
    _, second = observe(rssm, some_state(1), before, other, reset, noise)
    close(*(jax.tree.map(lambda x: x[0, 2:], p) for p in (first, second)))
    # The other row was not reset, so there the past still counts.
    assert float(jnp.abs(first.deter[1, 2] - second.deter[1, 2]).max()) > 1e-3


def test_a_reset_equals_the_start_of_an_episode():
    rssm = make()
    tokens, action, reset, noise = (x[:, :1] for x in inputs())
    start = before_an_episode(jnp.float32)
    _, first = observe(rssm, some_state(), tokens, action, ~reset, noise)
    _, second = observe(rssm, start, tokens, 0 * action, reset, noise)
    close(first, second)


def test_imagination_follows_the_prior():
    rssm, state = make(), some_state()
    action, noise = inputs()[1][:, 0], inputs()[3][:, 0]
    after, blocks = rssm.imagine_step(rssm.imagine_start(state), action, noise, FixedDraws())
    np.testing.assert_array_equal(from_blocks(blocks), after.deter)
    np.testing.assert_array_equal(after.stoch, rssm.prior(after.deter).argmax(-2))
    _, post = observe(rssm, state, *(x[:, :1] for x in inputs()))
    np.testing.assert_allclose(after.deter, post.deter[:, 0], atol=1e-5)


def test_large_actions_count_as_one():
    core = make().core
    one, large, half = (core.embed_action(jnp.array([[x, 0.5, 0.0]])) for x in (-1.0, -50.0, -0.5))
    np.testing.assert_allclose(one, large, atol=1e-6)
    assert float(jnp.abs(one - half).max()) > 1e-2


def test_every_class_keeps_its_share_of_the_uniform_mix():
    rssm = make(unimix=0.2, outscale=1000.0)
    probs = jnp.exp(rssm.prior(some_state().deter))
    np.testing.assert_allclose(probs.min(), 0.2 / C, rtol=1e-3)
    np.testing.assert_allclose(probs.max(), 0.8 + 0.2 / C, rtol=1e-3)


def logits(*probs):
    """Log-probabilities [1, C, S] from one distribution per variable."""
    return jnp.log(jnp.array(probs)).T[None]


def test_kl_losses_by_hand_and_their_gradients():
    post, prior = logits([0.5, 0.5], [0.25, 0.75]), logits([0.25, 0.75], [0.5, 0.5])
    kl = 0.5 * np.log(2) + 0.5 * np.log(2 / 3) + 0.25 * np.log(0.5) + 0.75 * np.log(1.5)
    rssm = make(free_nats=0.0)
    np.testing.assert_allclose(rssm.kl_losses(post, prior), [[kl], [kl]], rtol=1e-5)
    for index, trained in ((0, prior), (1, post)):
        grads = jax.grad(lambda *x, i=index: rssm.kl_losses(*x)[i].sum(), (0, 1))(post, prior)
        nonzero = [bool(jnp.any(g != 0)) for g in grads]
        assert nonzero == [trained is post, trained is prior]


def test_free_nats_bound_the_sum_over_variables():
    post, prior = logits([0.5, 0.5], [0.25, 0.75]), logits([0.25, 0.75], [0.5, 0.5])
    rssm = make(free_nats=1.0)
    np.testing.assert_array_equal(rssm.kl_losses(post, prior), [[1.0], [1.0]])
    grads = jax.grad(lambda *x: sum(rssm.kl_losses(*x)).sum(), (0, 1))(post, prior)
    assert not any(bool(jnp.any(g != 0)) for g in grads)
    # Each variable alone stays under one nat, both together do not.
    far = logits([0.999, 0.001], [0.999, 0.001])
    each = 0.5 * np.log(0.5 / 0.999) + 0.5 * np.log(0.5 / 0.001)
    even = logits([0.5, 0.5], [0.5, 0.5])
    np.testing.assert_allclose(make(free_nats=4.0).kl_losses(even, far)[0], 2 * each, rtol=1e-4)
    assert each < 4.0 < 2 * each


def test_samples_pass_the_gradient_of_their_probabilities():
    rssm = make()
    log_probs = logits([0.5, 0.3, 0.1, 0.1], [0.25] * 4, [0.7, 0.1, 0.1, 0.1])
    weights = jnp.arange(12.0).reshape(1, C, S)
    index = jnp.array([[0, 1, 2]])

    def sampled(x):
        return (rssm.straight_through(x, index) * weights).sum()

    grad = jax.grad(sampled)(log_probs)
    np.testing.assert_allclose(grad, jnp.exp(log_probs) * weights, rtol=1e-5)
    onehot = rssm.straight_through(log_probs, index)
    np.testing.assert_array_equal(onehot, jax.nn.one_hot(index, C, axis=-2))


def test_entropy_of_uniform_variables():
    even = logits([0.25] * 4, [0.25] * 4)
    np.testing.assert_allclose(entropy(even), [2 * np.log(4)], rtol=1e-6)


def test_the_state_before_an_episode_has_zero_features():
    rssm = make()
    features = rssm.features(before_an_episode(jnp.bfloat16))
    assert features.dtype == jnp.bfloat16
    np.testing.assert_array_equal(features, np.zeros((B, D + S * C)))
