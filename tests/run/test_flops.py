"""Counted operations against numbers worked out by hand."""

import jax
import jax.numpy as jnp
import pytest
from jax.experimental import io_callback

from reverie.run.planning.flops import FlopsError, count_flops

A, B = jnp.ones((3, 4)), jnp.ones((4, 5))
AB = 2 * 3 * 4 * 5


def conv(x, kernel, **options):
    settings = {"window_strides": (1, 1), "padding": "SAME", **options}
    return jax.lax.conv_general_dilated(
        x, kernel, dimension_numbers=("NHWC", "HWIO", "NHWC"), **settings
    )


def ones(*shape):
    return jnp.ones(shape)


def test_products():
    assert count_flops(jnp.matmul, A, B) == 120
    assert count_flops(lambda a: a @ a, ones(7, 3, 3)) == 7 * 2 * 27
    assert count_flops(lambda a, b: jnp.einsum("ij,jk->", a, b), A, B) in (2 * 4, AB)
    assert count_flops(lambda a: jnp.exp(a) + a, A) == 0


def test_shapes_are_enough():
    shape = jax.ShapeDtypeStruct((100_000, 100_000), "bfloat16")
    assert count_flops(jnp.matmul, shape, shape) == 2 * 10**15


def test_convolution_counts_every_tap_inside_the_image():
    x, kernel = ones(2, 8, 8, 3), ones(3, 3, 3, 4)
    assert count_flops(lambda x: conv(x, kernel, padding="VALID"), x) == 2 * 2 * 36 * 9 * 3 * 4
    # Along one axis of 8 pixels, 8 results meet 3 taps each, but for one at either end.
    assert count_flops(conv, x, kernel) == 2 * 2 * 22 * 22 * 3 * 4


def test_zeros_between_pixels_do_not_count():
    x, kernel = ones(1, 2, 2, 1), ones(2, 2, 1, 1)
    up = {"padding": ((1, 1), (1, 1)), "lhs_dilation": (2, 2)}
    assert conv(x, kernel, **up).shape == (1, 4, 4, 1)
    assert count_flops(lambda x: conv(x, kernel, **up), x) == 2 * 4 * 4


@pytest.mark.parametrize(
    ("options", "kernel", "flops"),
    [
        ({}, (3, 3, 6, 4), 2 * 5 * 22 * 22 * 6 * 4),
        ({"window_strides": (2, 2), "padding": "VALID"}, (3, 3, 6, 4), 2 * 5 * 9 * 9 * 6 * 4),
        ({"feature_group_count": 6}, (1, 1, 1, 6), 2 * 5 * 64 * 6),
        ({"feature_group_count": 2}, (3, 3, 3, 4), 2 * 5 * 22 * 22 * 3 * 4),
    ],
)
def test_each_gradient_of_a_convolution_costs_as_much_as_the_convolution(options, kernel, flops):
    x, kernel = ones(5, 8, 8, 6), ones(*kernel)
    forward = lambda x, kernel: conv(x, kernel, **options)  # noqa: E731
    dy = forward(x, kernel)
    assert count_flops(forward, x, kernel) == flops
    pull = lambda x, kernel, dy: jax.vjp(forward, x, kernel)[1](dy)  # noqa: E731
    assert count_flops(pull, x, kernel, dy) == 2 * flops


def scanned(a, b):
    """Seven steps of a product."""
    step = lambda a, _: (a + (a @ b) @ b.T, None)  # noqa: E731
    return jax.lax.scan(step, a, None, length=7)[0]


def test_loop_bodies_count_as_often_as_they_run():
    assert count_flops(scanned, A, B) == 7 * 2 * AB
    nested = lambda a, b: jax.lax.fori_loop(0, 3, lambda _, a: scanned(a, b), a)  # noqa: E731
    assert count_flops(jax.jit(nested), A, B) == 3 * 7 * 2 * AB


def test_programs_inside_others_count_once():
    plain = lambda a, b: a @ b  # noqa: E731
    own_jvp, own_vjp = jax.custom_jvp(plain), jax.custom_vjp(plain)
    own_jvp.defjvp(lambda ab, dab: (plain(*ab), plain(*dab)))
    own_vjp.defvjp(lambda a, b: (plain(a, b), (a, b)), lambda ab, y: (y @ ab[1].T, ab[0].T @ y))
    for call in (jax.jit(plain), jax.checkpoint(plain), jax.named_call(plain), own_jvp, own_vjp):
        assert count_flops(call, A, B) == AB
    grad = jax.grad(lambda a, b: jax.checkpoint(own_vjp)(a, b).sum(), argnums=(0, 1))
    assert count_flops(grad, A, B) in (2 * AB, 3 * AB)


def test_gradient_of_a_loop_costs_two_more_products_per_product():
    grad = jax.value_and_grad(lambda a, b: scanned(a, b).sum(), argnums=(0, 1))
    assert count_flops(grad, A, B) == 3 * 7 * 2 * AB


def test_the_most_expensive_branch_counts():
    def either(a, b):
        return jax.lax.cond(a[0, 0] > 0, lambda: a @ b, lambda: (a @ b) @ b.T @ b)

    assert count_flops(either, A, B) == 3 * AB


def test_unused_results_do_not_count():
    assert count_flops(lambda a, b: (a @ b, scanned(a, b))[0], A, B) == AB


def test_products_in_loops_of_unknown_length_are_refused():
    def search(a, b):
        return jax.lax.while_loop(lambda a: a.sum() < 1e6, lambda a: (a @ b) @ b.T, a)

    def compared(a, b):
        return jax.lax.while_loop(lambda a: (a @ b).sum() < 1e6, lambda a: a + 1, a)

    for loop in (search, compared, jax.jit(search), jax.checkpoint(search)):
        with pytest.raises(FlopsError, match="of 'while' cannot be counted"):
            count_flops(loop, A, B)


def test_loops_of_unknown_length_without_products_cost_nothing():
    counting = lambda a: jax.lax.while_loop(lambda a: a.sum() < 9, lambda a: a + 1, a)  # noqa: E731
    assert count_flops(counting, A) == 0
    assert count_flops(lambda a, b: counting(a) @ b, A, B) == AB


@pytest.mark.parametrize(
    ("function", "primitive"),
    [
        (lambda a: jax.pure_callback(lambda a: a, a, a), "pure_callback"),
        (lambda a: io_callback(lambda a: a, a, a), "io_callback"),
        (lambda a: jax.lax.fori_loop(0, 3, lambda _, a: jnp.linalg.cholesky(a), a), "cholesky"),
        (lambda a: jax.lax.ragged_dot(a, a[None], jnp.array([3])), "ragged_dot_general"),
        (jnp.linalg.inv, "lu"),
        (jnp.fft.fft, "fft"),
        (jax.ffi.ffi_call("own", jax.ShapeDtypeStruct((3, 3), "float32")), "ffi_call"),
    ],
)
def test_what_may_hold_products_is_named(function, primitive):
    with pytest.raises(FlopsError, match=f"of '{primitive}' cannot be counted"):
        count_flops(function, jnp.eye(3))


def test_prints_and_what_is_not_used_cost_nothing():
    def printing(a, b):
        jax.debug.print("{}", a)
        jnp.linalg.inv(b)
        return a @ b

    assert count_flops(printing, jnp.eye(3), jnp.eye(3)) == 54
