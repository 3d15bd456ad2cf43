"""Recurrent state-space model with a block-diagonal GRU (paper section on world models).

The stochastic state is carried as class indices, not one-hot vectors: one byte per variable in
replay instead of one float per class. The index -1 stands for the zero vector, the state before
an episode.

One-hot vectors and logits have the shape [C, S], classes before variables, and are flattened in
that order. A softmax over the few classes of a variable then runs over contiguous variables,
several times faster than over a short last axis.
"""

import functools
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from reverie.nn.dists import mix_uniform
from reverie.nn.draws import Draws
from reverie.nn.functional import f32, sg, where_mask
from reverie.nn.layers import (
    BlockGates,
    BlockLinear,
    Dense,
    Linear,
    RMSNorm,
    dense_stack,
    from_blocks,
    to_blocks,
)
from reverie.nn.scan import scan


class State(NamedTuple):
    """Latent state: `deter` [*b, D] in the compute dtype, `stoch` [*b, S] class indices."""

    deter: Float[Array, "*b D"]
    stoch: Int[Array, "*b S"]


class ImagineCarry(NamedTuple):
    """A state [b] with `deter` also in block form: a loop that carries both makes each once."""

    state: State
    blocks: Float[Array, "g b d"]


class Posterior(NamedTuple):
    """What `observe` returns: [*b, T] states, differentiable one-hot samples and logits.

    `onehot` [*b, T, C, S] equals the one-hot of `stoch` and carries the straight-through gradient
    of the log-probabilities `logits` [*b, T, C, S].
    """

    deter: Float[Array, "*b D"]
    stoch: Int[Array, "*b S"]
    onehot: Float[Array, "*b C S"]
    logits: Float[Array, "*b C S"]


class Core(eqx.Module):
    """One deterministic step: (deter, stoch, action) -> deter'."""

    deter_in: Dense
    stoch_in: Dense
    action_in: Dense
    hidden: tuple[BlockLinear, ...]
    hidden_norms: tuple[RMSNorm, ...]
    gates: BlockGates
    blocks: int = eqx.field(static=True)

    def __init__(
        self,
        deter: int,
        stoch: int,
        action: int,
        *,
        hidden: int,
        blocks: int,
        dynlayers: int,
        key: Key[Array, ""],
    ):
        keys = jax.random.split(key, 4 + dynlayers)
        self.deter_in = Dense(deter, hidden, key=keys[0])
        self.stoch_in = Dense(stoch, hidden, key=keys[1])
        self.action_in = Dense(action, hidden, key=keys[2])
        widths = [3 * hidden] + [0] * (dynlayers - 1)
        self.hidden = tuple(
            BlockLinear(deter, deter, blocks, shared, key=k)
            for shared, k in zip(widths, keys[4:], strict=True)
        )
        self.hidden_norms = tuple(RMSNorm(deter) for _ in self.hidden)
        self.gates = BlockGates(deter, deter, blocks, 3, key=keys[3])
        self.blocks = blocks

    def embed_action(self, action: Float[Array, "*b A"]) -> Float[Array, "*b H"]:
        """The action branch, which does not depend on the state."""
        return self.action_in(action / sg(jnp.maximum(1.0, jnp.abs(action))))

    def step(
        self,
        deter: Float[Array, "*b D"],
        blocks: Float[Array, "g *b d"],
        stoch: Float[Array, "*b CS"],
        action: Float[Array, "*b H"],
        keep: Bool[Array, "*b"] | None = None,
    ) -> Float[Array, "g *b d"]:
        """The next `deter` in block form, given this one in both forms.

        Where `keep` is false, the state counts as zeros. In block form the block products need no
        transposes and the gates are contiguous.

        Args: the state with flattened one-hot samples, the embedded action, the mask.
        """
        known = self.deter_in(deter, keep), self.stoch_in(stoch, keep)
        shared = jnp.concatenate([*known, action], -1)
        blocks = blocks if keep is None else jnp.where(keep[None, ..., None], blocks, 0.0)
        x = blocks
        for i, (layer, norm) in enumerate(zip(self.hidden, self.hidden_norms, strict=True)):
            x = layer(x, shared) if i == 0 else layer(x)
            x = jax.nn.silu(norm.blocks(x))
        reset, cand, update = self.gates(x)
        cand = jnp.tanh(jax.nn.sigmoid(reset) * cand)
        update = jax.nn.sigmoid(update - 1)
        return update * cand + (1 - update) * blocks


class RSSM(eqx.Module):
    """Core, prior and posterior.

    Args:
        tokens: Width of the encoder's result.
        action: Width of the encoded action.
        deter: Width of the recurrent state D.
        hidden: Width of the hidden layers.
        stoch: Number of stochastic variables S.
        classes: Classes of each variable C.
        blocks: Blocks of the block-diagonal layers.
        imglayers: Hidden layers of the prior.
        obslayers: Hidden layers of the posterior.
        dynlayers: Hidden block layers of the core.
        unimix: Share of the uniform distribution in every categorical.
        outscale: Scale of the initial logit kernels.
        absolute: Whether the posterior sees only the tokens, not `deter`.
        free_nats: Lower bound of the KL losses, after the sum over variables.
    """

    core: Core
    prior_layers: tuple[Dense, ...]
    prior_logits: Linear
    post_layers: tuple[Dense, ...]
    post_logits: Linear
    deter: int = eqx.field(static=True)
    stoch: int = eqx.field(static=True)
    classes: int = eqx.field(static=True)
    unimix: float = eqx.field(static=True)
    absolute: bool = eqx.field(static=True)
    free_nats: float = eqx.field(static=True)

    def __init__(
        self,
        tokens: int,
        action: int,
        *,
        deter: int,
        hidden: int,
        stoch: int,
        classes: int,
        blocks: int,
        imglayers: int,
        obslayers: int,
        dynlayers: int,
        unimix: float,
        outscale: float,
        absolute: bool,
        free_nats: float,
        key: Key[Array, ""],
    ):
        core_key, prior_key, post_key, a, b = jax.random.split(key, 5)
        width = stoch * classes
        sizes = {"hidden": hidden, "blocks": blocks, "dynlayers": dynlayers}
        self.core = Core(deter, width, action, **sizes, key=core_key)
        self.prior_layers = dense_stack(deter, hidden, imglayers, prior_key)
        self.prior_logits = Linear(hidden if imglayers else deter, width, outscale=outscale, key=a)
        inputs = tokens if absolute else deter + tokens
        self.post_layers = dense_stack(inputs, hidden, obslayers, post_key)
        self.post_logits = Linear(hidden if obslayers else inputs, width, outscale=outscale, key=b)
        self.deter, self.stoch, self.classes = deter, stoch, classes
        self.unimix, self.absolute, self.free_nats = unimix, absolute, free_nats

    def flat_onehot(self, stoch: Int[Array, "*b S"], dtype) -> Float[Array, "*b CS"]:
        """Flattened one-hot encoding of sampled indices."""
        encoded = jax.nn.one_hot(stoch, self.classes, axis=-2, dtype=dtype)
        return encoded.reshape(*stoch.shape[:-1], -1)

    def features(self, state: State) -> Float[Array, "*b F"]:
        """The input of every head: deter, then the flattened one-hot samples."""
        onehot = self.flat_onehot(state.stoch, state.deter.dtype)
        return jnp.concatenate([state.deter, onehot], -1)

    def prior(self, deter: Float[Array, "*b D"]) -> Float[Array, "*b C S"]:
        """Log-probabilities of the stochastic state before seeing the observation."""
        x = deter
        for layer in self.prior_layers:
            x = layer(x)
        return self._mixed(self.prior_logits(x))

    def _mixed(self, logits):
        logits = logits.reshape(*logits.shape[:-1], self.classes, self.stoch)
        return mix_uniform(logits, self.unimix, -2)

    def straight_through(
        self, logits: Float[Array, "*b C S"], index: Int[Array, "*b S"]
    ) -> Float[Array, "*b C S"]:
        """One-hot of the samples in the forward pass, gradient of the probabilities."""
        probs = jnp.exp(logits)
        onehot = jax.nn.one_hot(index, self.classes, axis=-2, dtype=f32)
        return onehot + (probs - sg(probs))

    def observe(
        self,
        state: State,
        tokens: Float[Array, "b t K"],
        action: Float[Array, "b t A"],
        reset: Bool[Array, "b t"],
        noise: Float[Array, "b t S"],
        draws: Draws,
    ) -> tuple[State, Posterior]:
        """Filters a sequence: previous state and actions in, posterior states out.

        Args:
            state: State before the first step, [b].
            tokens: Encoded observations.
            action: Encoded previous actions.
            reset: True where an episode starts; state and previous action are zeroed there.
            noise: Of `draws.uniform`.
            draws: Where samples come from.

        Returns:
            The last state [b] and all posteriors [b, T].
        """
        dtype = tokens.dtype
        keep = ~reset
        # What does not depend on the state is computed for all steps at once, before the loop.
        action = self.core.embed_action(where_mask(keep, action, 0.0).astype(dtype))
        core = eqx.tree_at(lambda c: c.action_in, self.core, None)
        first, seen = self._split_first(tokens)
        modules = (core, (first, *self.post_layers[1:]), self.post_logits)

        def step(modules, carry, inputs):
            core, layers, logits = modules
            deter, onehot = carry
            seen_t, action_t, keep_t, noise_t = inputs
            blocks = to_blocks(deter, core.blocks)
            deter = from_blocks(core.step(deter, blocks, onehot, action_t, keep_t))
            x = seen_t if self.absolute else layers[0].linear(deter) + seen_t
            x = layers[0].activate(x)
            for layer in layers[1:]:
                x = layer(x)
            logits = self._mixed(logits(x))
            index = draws.categorical(noise_t, sg(jnp.exp(logits)))
            onehot = self.straight_through(logits, index)
            return (deter, onehot.astype(dtype).reshape(*index.shape[:-1], -1)), logits

        swap = functools.partial(jax.tree.map, lambda x: x.swapaxes(0, 1))
        inputs = swap((seen, action, keep, noise))
        carry = (state.deter.astype(dtype), self.flat_onehot(state.stoch, dtype))
        (deter, onehot), logits = swap(scan(step, modules, carry, inputs))
        index = sg(onehot).reshape(logits.shape).argmax(-2)
        post = Posterior(deter, index, self.straight_through(logits, index), logits)
        return State(deter[:, -1], index[:, -1]), post

    def _split_first(self, tokens: Float[Array, "b t K"]) -> tuple[Dense, Float[Array, "b t H"]]:
        """The posterior's first layer without its token rows, and what those give."""
        first = self.post_layers[0]
        if self.absolute:
            return eqx.tree_at(lambda x: x.linear, first, None), first.linear(tokens)
        kernel = first.linear.kernel
        seen = tokens @ kernel[self.deter :].astype(tokens.dtype)
        return eqx.tree_at(lambda x: x.linear.kernel, first, kernel[: self.deter]), seen

    def imagine_start(self, state: State) -> ImagineCarry:
        """What `imagine_step` goes on from."""
        return ImagineCarry(state, to_blocks(state.deter, self.core.blocks))

    def imagine_step(
        self,
        carry: ImagineCarry,
        action: Float[Array, "b A"],
        noise: Float[Array, "b S"],
        draws: Draws,
    ) -> ImagineCarry:
        """One step of the prior from a state and an encoded action."""
        state, blocks = carry
        dtype = state.deter.dtype
        onehot = self.flat_onehot(state.stoch, dtype)
        action = self.core.embed_action(action.astype(dtype))
        blocks = self.core.step(state.deter, blocks, onehot, action)
        deter = from_blocks(blocks)
        stoch = draws.categorical(noise, jnp.exp(self.prior(deter)))
        return ImagineCarry(State(deter, stoch), blocks)

    def kl_losses(
        self, post: Float[Array, "*b C S"], prior: Float[Array, "*b C S"]
    ) -> tuple[Float[Array, "*b"], Float[Array, "*b"]]:
        """Dynamics and representation losses with free nats (paper equation 5)."""
        dyn = kl(sg(post), prior)
        rep = kl(post, sg(prior))
        return jnp.maximum(dyn, self.free_nats), jnp.maximum(rep, self.free_nats)


def kl(p: Float[Array, "*b C S"], q: Float[Array, "*b C S"]) -> Float[Array, "*b"]:
    """KL divergence of categoricals given by log-probabilities, summed over variables."""
    return (jnp.exp(p) * (p - q)).sum((-2, -1))


def entropy(logits: Float[Array, "*b C S"]) -> Float[Array, "*b"]:
    """Entropy of categoricals given by log-probabilities, summed over variables."""
    return -(jnp.exp(logits) * logits).sum((-2, -1))
