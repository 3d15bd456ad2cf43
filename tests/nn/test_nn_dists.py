import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from reverie.nn.dists import (
    Bernoulli,
    Categorical,
    Normal,
    SymlogMSE,
    TwoHot,
    mix_uniform,
    two_hot,
)
from reverie.nn.functional import symexp_bins


def test_mix_uniform_literal():
    logits = jnp.log(jnp.array([0.8, 0.2]))
    np.testing.assert_allclose(jnp.exp(mix_uniform(logits, 0.5)), [0.65, 0.35], rtol=1e-5)
    np.testing.assert_allclose(jnp.exp(mix_uniform(logits, 0.0)), [0.8, 0.2], rtol=1e-5)


def test_categorical_sums_over_entries_of_different_class_counts():
    logits = jnp.log(jnp.array([[0.25, 0.75, 0.2, 0.3, 0.5]]))
    dist = Categorical(logits, (2, 3), (2,))
    np.testing.assert_allclose(dist.log_prob(jnp.array([[1, 0]])), [np.log(0.75 * 0.2)], rtol=1e-5)
    np.testing.assert_array_equal(dist.mode(), [[1, 2]])
    entropy = -sum(p * np.log(p) for p in (0.25, 0.75, 0.2, 0.3, 0.5))
    np.testing.assert_allclose(dist.entropy(), [entropy], rtol=1e-5)
    assert np.isclose(dist.max_entropy, np.log(2) + np.log(3))


def test_normal_literals():
    dist = Normal(jnp.array([[0.0, 1.0]]), jnp.array([[1.0, 2.0]]), (2,))
    expected = -0.5 * np.log(2 * np.pi) + (-0.5 - np.log(2) - 0.5 * np.log(2 * np.pi))
    np.testing.assert_allclose(dist.log_prob(jnp.array([[0.0, 3.0]])), [expected], rtol=1e-5)
    entropy = np.log(2 * np.pi * np.e) + np.log(2)
    np.testing.assert_allclose(dist.entropy(), [entropy], rtol=1e-5)


def test_bernoulli_loss_of_a_soft_target():
    dist = Bernoulli(jnp.array([np.log(3.0)]))  # Probability 0.75.
    np.testing.assert_allclose(dist.prob(), [0.75], rtol=1e-6)
    expected = -(0.9 * np.log(0.75) + 0.1 * np.log(0.25))
    np.testing.assert_allclose(dist.loss(jnp.array([0.9])), [expected], rtol=1e-5)


def test_symlog_mse_sums_over_entries():
    dist = SymlogMSE(jnp.array([[np.log(2.0), 0.0]]), (2,))
    np.testing.assert_allclose(dist.pred(), [[1.0, 0.0]], atol=1e-6)
    np.testing.assert_allclose(dist.loss(jnp.array([[3.0, 0.0]])), [np.log(2) ** 2], rtol=1e-5)


def test_a_missing_target_gives_no_loss_and_no_gradient():
    """-inf and -1 mark what an environment did not observe."""
    target = jnp.array([[3.0, -jnp.inf], [3.0, 0.0]])

    def loss(mean):
        return SymlogMSE(mean, (2,)).loss(target).sum()

    value, grad = jax.value_and_grad(loss)(jnp.zeros((2, 2)))
    np.testing.assert_allclose(value, np.log(4) ** 2, rtol=1e-5)
    np.testing.assert_allclose(grad, [[0, 0], [-2 * np.log(4), 0]], rtol=1e-5)
    logits = jnp.log(jnp.array([[0.25, 0.75, 0.2, 0.8]])).repeat(2, 0)
    losses = Categorical(logits, (2, 2), (2,)).loss(jnp.array([[-1, 0], [1, 0]]))
    np.testing.assert_allclose(losses, [0, -np.log(0.75 * 0.2)], rtol=1e-5)


@pytest.mark.parametrize("dtype", [jnp.bool_, jnp.uint8, jnp.int32])
def test_categorical_takes_every_discrete_dtype(dtype):
    dist = Categorical(jnp.log(jnp.array([[0.25, 0.75]])), (2,), (1,))
    np.testing.assert_allclose(dist.log_prob(jnp.array([[1]], dtype)), [np.log(0.75)], rtol=1e-5)


def test_two_hot_predicts_exactly_zero_at_the_start():
    for value in (0.0, 0.3):
        assert float(TwoHot(jnp.full((1, 255), value)).pred()[0]) == 0.0


def test_two_hot_predicts_the_bin_it_is_sure_of():
    logits = jnp.full((255,), -100.0).at[140].set(0.0)
    np.testing.assert_allclose(TwoHot(logits).pred(), symexp_bins(255)[140], rtol=1e-5)


def plain_two_hot(target, bins):
    """The target distribution, written out."""
    result = np.zeros(len(bins))
    if target <= bins[0]:
        result[0] = 1
    elif target >= bins[-1]:
        result[-1] = 1
    else:
        high = np.searchsorted(bins, target, "right")
        weight = (target - bins[high - 1]) / (bins[high] - bins[high - 1])
        result[high - 1], result[high] = 1 - weight, weight
    return result


def test_two_hot_losses_equal_the_plain_cross_entropy():
    bins = symexp_bins(255).astype(np.float64)
    targets = np.array([-1e12, -333.3, -1.0, 0.0, 0.05, 1.0, bins[200], 1e5, 1e12], np.float32)
    logits = np.random.default_rng(0).normal(size=(len(targets), 255)).astype(np.float32)
    log_probs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    pairs = zip(targets, log_probs, strict=True)
    expected = [-(plain_two_hot(target, bins) * p).sum() for target, p in pairs]
    first, second = TwoHot(jnp.asarray(logits)).losses(jnp.asarray(targets), jnp.asarray(targets))
    np.testing.assert_allclose(first, expected, rtol=1e-4)
    np.testing.assert_array_equal(first, second)


def test_two_hot_losses_have_the_gradient_of_the_plain_cross_entropy():
    bins = symexp_bins(255).astype(np.float64)
    targets = np.array([[-1e12, -333.3, 0.0, 1.0], [bins[200], 0.05, 1e5, 1e12]], np.float32)
    logits = np.random.default_rng(0).normal(size=(4, 255)).astype(np.float32)
    weights = np.array([[1.0, -2.0, 0.5, 0.0], [3.0, 1.0, 1.0, 0.3]], np.float32)

    def total(logits):
        losses = TwoHot(logits).losses(*jnp.asarray(targets))
        return sum((w * x).sum() for w, x in zip(weights, losses, strict=True))

    probs = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    expected = sum(
        weights[k, :, None] * (probs - [plain_two_hot(target, bins) for target in targets[k]])
        for k in range(2)
    )
    np.testing.assert_allclose(jax.grad(total)(jnp.asarray(logits)), expected, atol=1e-6)


@hypothesis.settings(deadline=None)  # The first call compiles.
@hypothesis.given(
    # XLA takes numbers below the smallest normal one for 0 on CPU, NumPy does not.
    st.floats(-1e10, 1e10, width=32, allow_subnormal=False),
    st.sampled_from([255, 41, 8]),
)
def test_two_hot_is_the_target_distribution(target, count):
    bins = symexp_bins(count)
    found = two_hot(jnp.float32(target), jnp.asarray(bins))
    np.testing.assert_allclose(found, plain_two_hot(np.float32(target), bins), atol=1e-5)


def test_two_hot_of_the_bins_themselves():
    bins = jnp.asarray(symexp_bins(255))
    np.testing.assert_array_equal(two_hot(bins, bins), np.eye(255))
