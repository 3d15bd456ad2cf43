"""Output distributions. Everything here is float32, whatever the networks compute in."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Shaped

from reverie.nn.draws import Draws
from reverie.nn.functional import f32, sg, split_widths, symexp, symexp_bins, symlog


def mix_uniform(logits: Float[Array, "..."], amount: float, axis: int = -1) -> Float[Array, "..."]:
    """Log-probabilities over one axis of `(1 - amount) softmax(logits) + amount / classes`."""
    logits = logits.astype(f32)
    if not amount:
        return jax.nn.log_softmax(logits, axis)
    probs = (1 - amount) * jax.nn.softmax(logits, axis) + amount / logits.shape[axis]
    return jnp.log(probs)


IMPOSSIBLE = -1e9
"""Logit of an invalid class: its probability is exactly 0, and products with it stay finite."""


class Categorical(eqx.Module):
    """Independent categorical entries, possibly of different class counts.

    Args:
        logits: [*b, sum of classes], all entries concatenated.
        classes: Class count of each entry, n in total.
        shape: Shape of one value, with n entries.
        valid: Classes that can be drawn, in the order of the logits; the others have probability
            0. All can, where it is None.
    """

    logits: Float[Array, "*b width"]
    classes: tuple[int, ...] = eqx.field(static=True)
    shape: tuple[int, ...] = eqx.field(static=True)
    valid: Bool[Array, "*b width"] | None = None

    def restricted(self, valid: Bool[Array, "..."]) -> "Categorical":
        """The same with other classes than the valid ones ruled out."""
        valid = valid.reshape(self.logits.shape)
        return Categorical(self.logits, self.classes, self.shape, valid)

    def _log_probs(self) -> list[Float[Array, "*b _"]]:
        logits = self.logits.astype(f32)
        if self.valid is not None:
            logits = jnp.where(self.valid, logits, IMPOSSIBLE)
        return [jax.nn.log_softmax(x, -1) for x in split_widths(logits, self.classes)]

    def _unflatten(self, entries: list[Int[Array, "*b"]]) -> Int[Array, "..."]:
        stacked = jnp.stack(entries, -1).astype(jnp.int32)
        return stacked.reshape(*stacked.shape[:-1], *self.shape)

    def mode(self) -> Int[Array, "..."]:
        """The most likely class of every entry."""
        return self._unflatten([x.argmax(-1) for x in self._log_probs()])

    def sample(self, draws: Draws, noise: Float[Array, "*b n"]) -> Int[Array, "..."]:
        """One draw per entry from uniform noise."""
        parts = self._log_probs()
        picked = [
            draws.categorical(noise[..., i : i + 1], jnp.exp(x)[..., None])[..., 0]
            for i, x in enumerate(parts)
        ]
        if self.valid is not None:
            picked = [_possible(i, x) for i, x in zip(picked, parts, strict=True)]
        return self._unflatten(picked)

    def log_prob(self, value: Shaped[Array, "..."]) -> Float[Array, "*b"]:
        """Log-probability of booleans or integers, summed over entries."""
        value = value.reshape(*self.logits.shape[:-1], len(self.classes))
        total = jnp.zeros(self.logits.shape[:-1], f32)
        for i, log_probs in enumerate(self._log_probs()):
            # A masked sum, because the gradient of a look-up is a slow scatter.
            classes = jnp.arange(log_probs.shape[-1])
            classes = jax.lax.broadcast_to_rank(classes, log_probs.ndim)
            picked = value[..., i : i + 1] == classes
            total += jnp.where(picked, log_probs, 0.0).sum(-1)
        return total

    def entropy(self) -> Float[Array, "*b"]:
        """Entropy in nats, summed over entries."""
        entropies = [-(jnp.exp(x) * x).sum(-1) for x in self._log_probs()]
        return jnp.stack(entropies).sum(0)

    def loss(self, target: Shaped[Array, "..."]) -> Float[Array, "*b"]:
        """Negative log-likelihood, 0 where an entry is missing (-1)."""
        entries = target.reshape(*self.logits.shape[:-1], len(self.classes))
        return jnp.where((entries < 0).any(-1), 0.0, -self.log_prob(target))

    pred = mode

    @property
    def max_entropy(self) -> float:
        """Entropy of the uniform distribution in nats."""
        return float(np.log(self.classes).sum())


def _possible(index: Int[Array, "*b"], log_probs: Float[Array, "*b c"]) -> Int[Array, "*b"]:
    """The index, or the likeliest one where it has probability 0.

    What rounding leaves over in a draw goes to the last class, which may be an invalid one.
    """
    drawn = jnp.take_along_axis(log_probs, index[..., None], -1)[..., 0]
    return jnp.where(drawn > IMPOSSIBLE / 2, index, log_probs.argmax(-1))


class Normal(eqx.Module):
    """Independent normal entries, flattened: mean and stddev are [*b, n]."""

    mean: Float[Array, "*b n"]
    stddev: Float[Array, "*b n"]
    shape: tuple[int, ...] = eqx.field(static=True)

    def _unflatten(self, x: Float[Array, "*b n"]) -> Float[Array, "..."]:
        return x.reshape(*x.shape[:-1], *self.shape)

    def mode(self) -> Float[Array, "..."]:
        """The mean."""
        return self._unflatten(self.mean)

    def sample(self, draws: Draws, noise: Float[Array, "*b n"]) -> Float[Array, "..."]:
        """One draw per entry from standard normal noise."""
        return self._unflatten(self.mean + self.stddev * noise)

    def log_prob(self, value: Float[Array, "..."]) -> Float[Array, "*b"]:
        """Log-density, summed over entries."""
        value = value.reshape(self.mean.shape)
        z = (value - self.mean) / self.stddev
        return (-0.5 * jnp.square(z) - jnp.log(self.stddev) - 0.5 * np.log(2 * np.pi)).sum(-1)

    def entropy(self) -> Float[Array, "*b"]:
        """Differential entropy in nats, summed over entries."""
        return (jnp.log(self.stddev) + 0.5 * np.log(2 * np.pi * np.e)).sum(-1)


class Bernoulli(eqx.Module):
    """A binary outcome from one logit."""

    logit: Float[Array, "*b"]

    def prob(self) -> Float[Array, "*b"]:
        """Probability of the outcome 1."""
        return jax.nn.sigmoid(self.logit.astype(f32))

    def loss(self, target: Float[Array, "*b"]) -> Float[Array, "*b"]:
        """Binary cross-entropy; the target may be any probability."""
        logit = self.logit.astype(f32)
        return -(target * jax.nn.log_sigmoid(logit) + (1 - target) * jax.nn.log_sigmoid(-logit))


class SymlogMSE(eqx.Module):
    """A point prediction in symlog space (paper equation 9): mean is [*b, n]."""

    mean: Float[Array, "*b n"]
    shape: tuple[int, ...] = eqx.field(static=True)

    def pred(self) -> Float[Array, "..."]:
        """The prediction in the units of the target."""
        return symexp(self.mean).reshape(*self.mean.shape[:-1], *self.shape)

    def loss(self, target: Float[Array, "..."]) -> Float[Array, "*b"]:
        """Squared error to `symlog(target)` summed over entries, 0 where one is missing (-inf)."""
        target = target.astype(f32).reshape(self.mean.shape)
        missing = jnp.isneginf(target)
        # The inner replacement keeps infinities out of the square, whose gradient would be NaN.
        error = self.mean - symlog(jnp.where(missing, 0.0, target))
        return jnp.where(missing.any(-1), 0.0, jnp.square(error).sum(-1))


class TwoHot(eqx.Module):
    """A categorical over exponentially spaced bins (paper section on critic learning, eq. 10).

    Args:
        logits: [*b, bins].
    """

    logits: Float[Array, "*b bins"]

    def _bins(self) -> Float[Array, " bins"]:
        return jnp.asarray(symexp_bins(self.logits.shape[-1]))

    def pred(self) -> Float[Array, "*b"]:
        """Expectation, exactly zero when all logits are equal.

        The bins span 17 orders of magnitude. Adding each bin to its mirror image before the sum
        keeps the large ones from drowning the rest.
        """
        bins = self._bins()
        probs = jax.nn.softmax(self.logits.astype(f32), -1)
        weighted = probs * jax.lax.broadcast_to_rank(bins, probs.ndim)
        half = bins.shape[0] // 2
        mirrored = weighted[..., :half][..., ::-1] + weighted[..., bins.shape[0] - half :]
        total = mirrored.sum(-1)
        return total + weighted[..., half] if bins.shape[0] % 2 else total

    def losses(self, *targets: Float[Array, "*b"]) -> list[Float[Array, "*b"]]:
        """Cross-entropies to several targets, which share one normaliser.

        Each target is spread over its two neighbouring bins by distance; beyond the range it
        falls on the end bin. No gradient flows into the targets.
        """
        log_probs = jax.nn.log_softmax(self.logits.astype(f32), -1)
        return [-(two_hot(sg(target), self._bins()) * log_probs).sum(-1) for target in targets]

    def loss(self, target: Float[Array, "*b"]) -> Float[Array, "*b"]:
        """Cross-entropy to one target, see `losses`."""
        return self.losses(target)[0]


def two_hot(target: Float[Array, "*b"], bins: Float[Array, " bins"]) -> Float[Array, "*b bins"]:
    """The shares of the two bins around a target; beyond the range the end bin has all."""
    # Its default method is a loop, of which a GPU launches every step.
    above = jnp.searchsorted(bins, target, side="right", method="compare_all")
    above = jnp.clip(above, 1, len(bins) - 1)
    low, high = bins[above - 1], bins[above]
    share = jnp.clip((target - low) / (high - low), 0.0, 1.0)[..., None]
    indices = jax.lax.broadcast_to_rank(jnp.arange(len(bins)), share.ndim)
    # Masks, because the gradient of a look-up is a slow scatter.
    below = jnp.where(indices == above[..., None] - 1, 1 - share, 0.0)
    return below + jnp.where(indices == above[..., None], share, 0.0)
