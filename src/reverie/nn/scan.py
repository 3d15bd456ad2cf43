"""A scan whose loops do only what has to be done step by step."""

import functools
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

Step = Callable[[Any, Any, Any], tuple[Any, Any]]
"""`step(modules, carry, inputs) -> (carry, outputs)`."""

UNROLL = 4
"""Steps per round of a loop on an accelerator."""


def loop(step: Callable[[Any, Any], tuple[Any, Any]], carry: Any, inputs: Any, **options: Any):
    """`lax.scan`, with several steps per round on all but CPUs.

    What a round slices, writes and counts is then one launch for all of its steps. On a CPU, where
    nothing is launched, more code is only slower.
    """
    one = functools.partial(jax.lax.scan, step, **options)
    several = functools.partial(one, unroll=UNROLL)
    return jax.lax.platform_dependent(carry, inputs, cpu=one, default=several)


def scan(step: Step, modules: Any, carry: Any, inputs: Any) -> tuple[Any, Any]:
    """Equals `lax.scan` over `step` but for giving every carry, with the same gradients.

    Differentiating `lax.scan` stores what each operation of a step needs for its gradient, dozens
    of small writes per step, and adds up the gradients of all kernels in the loop. Here the loops
    hold only what depends on the step before: forwards the carry, backwards its gradient. All else
    is computed for all steps at once: from the carries what the gradients need, and from the
    gradients of the carries those of modules and inputs. On a GPU that launches a third of the
    kernels; on all devices few large products replace many small ones.

    Args:
        step: Takes `modules`, the carry and the inputs of one step, time not included.
        modules: Any tree of modules whose parameters get gradients.
        carry: Carry before the first step, of floating-point arrays.
        inputs: Tree of arrays with time as their first axis.

    Returns:
        The carries after all steps and the outputs of all steps, floating-point arrays too.
    """

    @jax.custom_vjp
    def run(modules, carry, inputs):
        def body(carry, x):
            carry, outputs = step(modules, carry, x)
            return carry, (carry, outputs)

        return loop(body, carry, inputs)[1]

    def forward(modules, carry, inputs):
        results = run(modules, carry, inputs)
        return results, (modules, carry, results[0], inputs)

    def backward(residuals, cotangents):
        modules, first, carries, inputs = residuals
        before = jax.tree.map(lambda c, cs: jnp.concatenate([c[None], cs[:-1]]), first, carries)
        d_first, d_carries = _carry_gradients(step, modules, before, inputs, cotangents)

        def every(modules, inputs):
            return jax.vmap(step, (None, 0, 0))(modules, before, inputs)

        _, pull = jax.vjp(every, modules, inputs)
        d_modules, d_inputs = pull((d_carries, cotangents[1]))
        return d_modules, d_first, d_inputs

    run.defvjp(forward, backward)
    return run(modules, carry, inputs)


def _carry_gradients(step, modules, before, inputs, cotangents):
    """Gradients of the first carry, and of the carries after all steps."""

    # A pullback is a tree of arrays. The kernels among them, which are those of every step, stay
    # out of the loop's inputs.
    kernels = {id(x) for x in jax.tree.leaves(modules)}
    fixed = []

    def linear(carry, x):
        pull = jax.vjp(step, modules, carry, x)[1]
        same, varying = eqx.partition(pull, lambda x: id(x) in kernels)
        fixed.append(same)
        return varying

    pulls = jax.vmap(linear)(before, inputs)

    def body(d_carry, xs):
        pull, d_carry_t, d_outputs = xs
        d_carry = jax.tree.map(jnp.add, d_carry, d_carry_t)
        _, d_before, _ = eqx.combine(pull, fixed[0])((d_carry, d_outputs))
        return d_before, d_carry

    zeros = jax.tree.map(lambda x: jnp.zeros_like(x[0]), before)
    return loop(body, zeros, (pulls, *cotangents), reverse=True)
