import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
from fixed_draws import FixedDraws

from reverie.nn import draws as draws_module
from reverie.nn.draws import Draws
from reverie.nn.functional import one_hot, symexp, symexp_bins, symlog, where_mask


def test_symlog_literals():
    x = jnp.array([-np.e + 1, -1.0, 0.0, 1.0, np.e**3 - 1])
    np.testing.assert_allclose(symlog(x), [-1, -np.log(2), 0, np.log(2), 3], rtol=1e-5)


@hypothesis.settings(deadline=None)  # The first call compiles.
@hypothesis.given(st.floats(-1e6, 1e6, width=32))
def test_symexp_inverts_symlog(x):
    assert np.isclose(float(symexp(symlog(jnp.float32(x)))), x, rtol=1e-4, atol=1e-5)


def test_bins_are_exactly_symmetric_and_sorted():
    for count in (255, 41, 8):
        bins = symexp_bins(count)
        assert bins.shape == (count,)
        assert bins.dtype == np.float32
        np.testing.assert_array_equal(bins, -bins[::-1])
        assert (np.diff(bins) > 0).all()
        np.testing.assert_allclose(bins[-1], np.expm1(20.0), rtol=1e-5)


def test_one_hot_of_different_class_counts():
    encoded = one_hot(jnp.array([[1, 0], [-1, 2]]), (2, 3))
    np.testing.assert_array_equal(encoded, [[0, 1, 1, 0, 0], [0, 0, 0, 0, 1]])


def test_one_hot_of_equal_class_counts():
    encoded = one_hot(jnp.array([[1, 0]]), (2, 2))
    np.testing.assert_array_equal(encoded, [[0, 1, 1, 0]])


def test_where_mask_uses_leading_axes():
    x = jnp.arange(6.0).reshape(3, 2)
    masked = where_mask(jnp.array([True, False, True]), x, 0.0)
    np.testing.assert_array_equal(masked, [[0, 1], [0, 0], [4, 5]])


def test_random_categorical_follows_the_distribution():
    probs = jnp.array([[0.1, 0.6], [0.2, 0.0], [0.7, 0.4]])  # Classes x variables.
    draws, count = Draws(), 40_000
    noise = draws.uniform(jax.random.key(0), (count, 2))
    index = np.asarray(draws.categorical(noise, jnp.broadcast_to(probs, (count, 3, 2))))
    for variable in range(2):
        share = np.bincount(index[:, variable], minlength=3) / count
        # Five standard deviations of a share of 40,000 draws.
        np.testing.assert_allclose(share, probs[:, variable], atol=5 * 0.5 / np.sqrt(count))
    assert (index[:, 1] != 1).all()


def test_random_categorical_stays_in_range_at_the_ends_of_the_noise():
    probs = jnp.full((2, 3, 1), 1 / 3)
    noise = jnp.array([[0.0], [np.nextafter(np.float32(1), np.float32(0))]])
    np.testing.assert_array_equal(Draws().categorical(noise, probs), [[0], [2]])


def test_many_classes_are_drawn_as_few_are(monkeypatch):
    count, rng = 300, np.random.default_rng(0)
    probs = rng.random((5, count, 2)).astype(np.float32) * (rng.random((5, count, 2)) < 0.3)
    probs[:, 7] += 1e-3
    probs = jnp.asarray(probs / probs.sum(1, keepdims=True))
    noise = Draws().uniform(jax.random.key(0), (2000, 5, 2))
    many = np.stack([Draws().categorical(row, probs) for row in noise])
    monkeypatch.setattr(draws_module, "UNROLLED", count)
    few = np.stack(jax.lax.map(lambda row: Draws().categorical(row, probs), noise))
    # Sums in another order differ in their last bits, which decide a few of 20,000 draws.
    assert (many != few).mean() < 1e-3
    chosen = np.take_along_axis(np.asarray(probs)[None], many[:, :, None, :], 2)
    assert (chosen > 0).all()


def test_the_ends_of_the_noise_are_possible_classes_among_many():
    probs = np.zeros((2, 200, 1), np.float32)
    probs[:, 30:150] = 1 / 120
    noise = jnp.array([[0.0], [np.nextafter(np.float32(1), np.float32(0))]])
    np.testing.assert_array_equal(Draws().categorical(noise, jnp.asarray(probs)), [[30], [149]])


def test_thousands_of_classes_are_no_longer_program():
    def length(count):
        shapes = jnp.zeros((3, 1)), jnp.zeros((3, count, 1))
        return len(jax.make_jaxpr(Draws().categorical)(*shapes).eqns)

    assert length(4096) == length(65) < length(64)


def test_fixed_draws_take_the_mode_and_a_constant():
    draws = FixedDraws(0.5)
    probs = jnp.array([[0.1, 0.6], [0.2, 0.0], [0.7, 0.4]])
    np.testing.assert_array_equal(draws.categorical(jnp.zeros(2), probs), [2, 0])
    np.testing.assert_array_equal(draws.normal(jax.random.key(0), (2,)), [0.5, 0.5])
