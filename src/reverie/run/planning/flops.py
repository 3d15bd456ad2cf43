"""Counts the floating-point operations of a traced program.

XLA's own cost analysis counts the body of a loop once, however often it runs, and knows nothing of
the library calls that products become on accelerators. Here the program is read as JAX traced it.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.extend import core
from jax.interpreters import partial_eval

UNCOUNTABLE = frozenset({
    "pure_callback", "io_callback", "ffi_call", "pallas_call", "ragged_dot_general", "fft",
    "scaled_matmul", "shard_map", "cholesky", "cholesky_update", "eig", "eigh", "geqp3", "geqrf",
    "hessenberg", "householder_product", "lu", "ormqr", "qr", "schur", "svd", "symmetric_product",
    "triangular_solve", "tridiagonal", "tridiagonal_solve",
})  # fmt: skip
"""Those of JAX's primitives that hold products of which the program does not tell how many."""


class FlopsError(ValueError):
    """Operations of a program that cannot be counted."""


def count_flops(function: Callable, *args: Any) -> int:
    """Counts the multiplications and additions of matrix products and convolutions.

    A loop's body counts as often as it runs, a branch as the most expensive one. A convolution
    counts the taps that meet the image, not those on padding or on the zeros that dilation puts
    between pixels. Whatever no result depends on is left out, as the compiler does. Sums,
    element-wise functions, sorting, random numbers and prints are not counted.

    Args:
        function: What to trace.
        args: Its arguments: arrays, or anything with a shape and a dtype, in trees.

    Raises:
        FlopsError: If some cannot be counted: products in a loop of which only the run tells how
            often it runs, callbacks, kernels of the user's own, linear algebra.
    """
    jaxpr = jax.make_jaxpr(function)(*args).jaxpr
    used, _ = partial_eval.dce_jaxpr(jaxpr, [True] * len(jaxpr.outvars))
    return _count(used)


def _count(jaxpr: Any) -> int:
    return sum(_count_equation(equation) for equation in jaxpr.eqns)


def _count_equation(equation: Any) -> int:
    name, params = equation.primitive.name, equation.params
    if name == "dot_general":
        return _dot(equation)
    if name == "conv_general_dilated":
        return _convolution(equation)
    inner = [_count(jaxpr) for jaxpr in core.jaxprs_in_params(params)]
    if name in UNCOUNTABLE or (name == "while" and any(inner)):
        raise FlopsError(
            f"The floating-point operations of {name!r} cannot be counted: only a run on the "
            "device itself tells how long they take."
        )
    if name == "cond":
        return max(inner)
    return sum(inner) * (params["length"] if name == "scan" else 1)


def _dot(equation: Any) -> int:
    (contracted, _), _ = equation.params["dimension_numbers"]
    lhs, out = equation.invars[0].aval.shape, equation.outvars[0].aval.shape
    return 2 * math.prod(out) * math.prod(lhs[axis] for axis in contracted)


def _convolution(equation: Any) -> int:
    params = equation.params
    lhs, rhs = (variable.aval.shape for variable in equation.invars)
    out = equation.outvars[0].aval.shape
    numbers = params["dimension_numbers"]
    batch, features, *out_axes = numbers.out_spec
    _, inputs, *rhs_axes = numbers.rhs_spec
    pairs = math.prod(
        _taps(lhs[left], rhs[right], out[result], *window)
        for left, right, result, *window in zip(
            numbers.lhs_spec[2:],
            rhs_axes,
            out_axes,
            params["window_strides"],
            params["padding"],
            params["lhs_dilation"],
            params["rhs_dilation"],
            strict=True,
        )
    )
    return 2 * out[batch] * out[features] * rhs[inputs] * pairs


def _taps(
    size: int,
    kernel: int,
    results: int,
    stride: int,
    padding: tuple[int, int],
    lhs_dilation: int,
    rhs_dilation: int,
) -> int:
    """Number of pairs of a result and a kernel entry that meet a pixel, along one axis."""
    result, tap = np.arange(results)[:, None], np.arange(kernel)[None]
    position = result * stride - padding[0] + tap * rhs_dilation
    inside = (position >= 0) & (position <= (size - 1) * lhs_dilation)
    return int((inside & (position % lhs_dilation == 0)).sum())
