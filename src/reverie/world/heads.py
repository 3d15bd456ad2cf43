"""Heads on the latent features: reward, continue, value and policy."""

from collections.abc import Mapping

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from reverie.nn.dists import Bernoulli, Categorical, Normal, TwoHot, mix_uniform
from reverie.nn.functional import f32, split_widths
from reverie.nn.layers import MLP, Linear
from reverie.spaces import Space


class TwoHotHead(eqx.Module):
    """MLP with a symexp two-hot output: reward and value (paper equation 10)."""

    mlp: MLP
    out: Linear

    def __init__(
        self,
        inputs: int,
        *,
        layers: int,
        units: int,
        bins: int,
        outscale: float,
        key: Key[Array, ""],
    ):
        mlp_key, out_key = jax.random.split(key)
        self.mlp = MLP(inputs, units, layers, key=mlp_key)
        self.out = Linear(units, bins, outscale=outscale, key=out_key)

    def __call__(self, features: Float[Array, "*b F"]) -> TwoHot:
        return TwoHot(self.out(self.mlp(features)).astype(f32))


class ContinueHead(eqx.Module):
    """MLP with one logit: the probability that the episode goes on."""

    mlp: MLP
    out: Linear

    def __init__(
        self, inputs: int, *, layers: int, units: int, outscale: float, key: Key[Array, ""]
    ):
        mlp_key, out_key = jax.random.split(key)
        self.mlp = MLP(inputs, units, layers, key=mlp_key)
        self.out = Linear(units, 1, outscale=outscale, key=out_key)

    def __call__(self, features: Float[Array, "*b F"]) -> Bernoulli:
        return Bernoulli(self.out(self.mlp(features)).astype(f32)[..., 0])


class PolicyHead(eqx.Module):
    """MLP with one action distribution per action key.

    Discrete keys are categorical. Continuous keys are normal with mean `tanh(.)` and standard
    deviation `(maxstd - minstd) sigmoid(. + 2) + minstd`, not squashed: samples may leave
    [-1, 1], the environment clips them.

    Args:
        inputs: Width of the features.
        act_space: One space per action key.
        layers, units: Of the MLP.
        minstd, maxstd: Bounds of the standard deviation.
        outscale: Scale of the initial output kernels.
        unimix: Share of the uniform distribution in discrete actions.
    """

    mlp: MLP
    outs: dict[str, dict[str, Linear]]
    act_space: tuple[tuple[str, Space], ...] = eqx.field(static=True)
    minstd: float = eqx.field(static=True)
    maxstd: float = eqx.field(static=True)
    unimix: float = eqx.field(static=True)

    def __init__(
        self,
        inputs: int,
        act_space: Mapping[str, Space],
        *,
        layers: int,
        units: int,
        minstd: float,
        maxstd: float,
        outscale: float,
        unimix: float,
        key: Key[Array, ""],
    ):
        mlp_key, out_key = jax.random.split(key)
        self.mlp = MLP(inputs, units, layers, key=mlp_key)
        self.act_space = tuple(sorted(act_space.items()))
        self.outs = {}
        for name, space in self.act_space:
            out_key, a, b = jax.random.split(out_key, 3)
            parts = {"logits": a} if space.kind == "discrete" else {"mean": a, "stddev": b}
            self.outs[name] = {
                part: Linear(units, space.width, outscale=outscale, key=k)
                for part, k in parts.items()
            }
        self.minstd, self.maxstd, self.unimix = minstd, maxstd, unimix

    def __call__(self, features: Float[Array, "*b F"]) -> dict[str, Categorical | Normal]:
        x = self.mlp(features)
        return {name: self._dist(x, name, space) for name, space in self.act_space}

    def _dist(self, x: Float[Array, "*b units"], name: str, space: Space) -> Categorical | Normal:
        outs = {part: layer(x).astype(f32) for part, layer in self.outs[name].items()}
        if space.kind == "discrete":
            logits = outs["logits"]
            if self.unimix:
                entries = split_widths(logits, space.classes)
                logits = jnp.concatenate([mix_uniform(x, self.unimix) for x in entries], -1)
            return Categorical(logits, space.classes, space.shape)
        stddev = (self.maxstd - self.minstd) * jax.nn.sigmoid(outs["stddev"] + 2.0) + self.minstd
        return Normal(jnp.tanh(outs["mean"]), stddev, space.shape)
