"""Lambda-returns of one trajectory; batch axes are added outside with `jax.vmap`.

Time runs over the first axis. Entry t holds what belongs to step t: the reward received on the
way into it, whether it ends an episode, and its value estimate.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float


def imagined_return(
    reward: Float[Array, " t"],
    discount: Float[Array, " t"],
    value: Float[Array, " t"],
    lam: float,
) -> Float[Array, " t-1"]:
    """Returns of an imagined trajectory (paper equation 7).

        R_t = reward_{t+1} + discount_{t+1} ((1 - lam) value_{t+1} + lam R_{t+1}),  R_H = value_H

    Args:
        reward: Predicted rewards of the H+1 entries.
        discount: Predicted continue probabilities, discount included.
        value: Predicted values.
        lam: Mixing factor in [0, 1]; 0 bootstraps at once, 1 only at the end.

    Returns:
        R_0 .. R_{H-1}.
    """
    step_reward = reward[1:] + discount[1:] * (1 - lam) * value[1:]
    return _backward(step_reward, discount[1:] * lam, value[-1])


def replay_return(
    reward: Float[Array, " t"],
    last: Bool[Array, " t"],
    terminal: Bool[Array, " t"],
    bootstrap: Float[Array, " t"],
    discount: float,
    lam: float,
) -> Float[Array, " t-1"]:
    """Returns of a replayed sequence, bootstrapped with imagined returns.

        live_t = (1 - terminal_t) discount,  keep_t = lam (1 - last_t)
        R_t = reward_{t+1} + live_{t+1} ((1 - keep_{t+1}) bootstrap_{t+1} + keep_{t+1} R_{t+1})
        R_{T-1} = bootstrap_{T-1}

    Args:
        reward: Replayed rewards of T steps.
        last: Whether the step ends an episode.
        terminal: Whether it ends one by termination.
        bootstrap: Imagined return from each step.
        discount: Factor per step.
        lam: Mixing factor in [0, 1].

    Returns:
        R_0 .. R_{T-2}.
    """
    live = (1 - terminal[1:].astype(jnp.float32)) * discount
    keep = (1 - last[1:].astype(jnp.float32)) * lam
    step_reward = reward[1:] + live * (1 - keep) * bootstrap[1:]
    return _backward(step_reward, live * keep, bootstrap[-1])


def _backward(addend, factor, last):
    """Solves `R_t = addend_t + factor_t R_{t+1}` from the end."""

    def step(carry, inputs):
        addend_t, factor_t = inputs
        carry = addend_t + factor_t * carry
        return carry, carry

    # Unrolling it all takes seconds to compile on CPU and is slower; not at all launches more.
    _, returns = jax.lax.scan(step, last, (addend, factor), reverse=True, unroll=4)
    return returns
