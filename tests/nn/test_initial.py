"""Kernels that are drawn together: one operation, and yet values of their own."""

import equinox as eqx
import jax
import numpy as np

from reverie.nn.initial import drawn_together
from reverie.nn.layers import BlockLinear, Linear

KEY, OTHER = jax.random.split(jax.random.key(0))


def layers():
    """Three layers whose keys are all the same, so that these alone would make them equal."""
    return Linear(30, 20, key=KEY), BlockLinear(30, 20, 2, key=KEY), Linear(30, 20, key=KEY)


def draws(function):
    """How many draws a program has."""
    return str(jax.make_jaxpr(function)(KEY)).count("name=_truncated_normal")


def test_all_are_drawn_by_one_operation():
    assert draws(lambda key: layers()) == 3
    assert draws(lambda key: drawn_together(layers, key)) == 1


def test_they_are_those_of_the_key_and_differ_from_each_other():
    one, same, other = (drawn_together(layers, key) for key in (KEY, KEY, OTHER))
    for a, b, c in zip(*(jax.tree.leaves(x) for x in (one, same, other)), strict=True):
        np.testing.assert_array_equal(a, b)
        assert a.ndim == 1 or not (a == c).any()
    assert [x.kernel.shape for x in one] == [x.kernel.shape for x in layers()]
    assert not (one[0].kernel == one[2].kernel).any()
    np.testing.assert_allclose(one[0].kernel.std(), 1 / np.sqrt(30), rtol=0.1)


def test_what_is_made_from_a_kernel_sees_its_values():
    def make():
        layer = Linear(30, 20, key=KEY)
        return layer, (layer.kernel**2).sum()

    layer, norm = jax.jit(lambda key: drawn_together(make, key))(OTHER)
    np.testing.assert_allclose((layer.kernel**2).sum(), norm, rtol=1e-5)


def test_an_ensemble_has_members_of_its_own():
    def make():
        each = eqx.filter_vmap(lambda key: Linear(3, 4, key=key))(jax.random.split(KEY, 5))
        return each, Linear(3, 4, key=KEY)

    each, last = jax.jit(lambda key: drawn_together(make, key))(OTHER)
    assert each.kernel.shape == (5, 3, 4)
    assert len(np.unique(each.kernel)) + len(np.unique(last.kernel)) == 72


def test_an_error_leaves_later_draws_alone():
    def fail():
        Linear(2, 2, key=KEY)
        raise ValueError("no agent")

    for _ in range(2):
        try:
            drawn_together(fail, KEY)
        except ValueError:
            assert Linear(2, 2, key=KEY).kernel.any()
