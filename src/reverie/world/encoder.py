"""Encoders: observation -> tokens. Register a new one in `ENCODERS`.

An encoder is any Equinox module that fits `Encoder` and is made by
`Class(obs_space, **options, key=key)`.
"""

from collections.abc import Callable, Mapping
from typing import Protocol, runtime_checkable

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Key, Shaped

from reverie.nn.layers import MLP, Conv2D, RMSNorm
from reverie.nn.phases import to_phases
from reverie.spaces import Space
from reverie.world.features import encode_flat, flat_width

FEW_CHANNELS = 16
"""With fewer input channels than this, a convolution over phases is the faster one."""


@runtime_checkable
class Encoder(Protocol):
    """What the world model needs of an encoder."""

    @property
    def tokens(self) -> int:
        """Static width of the result."""
        ...

    def __call__(
        self, obs: Mapping[str, Shaped[Array, "..."]], dtype: DTypeLike
    ) -> Float[Array, "*b tokens"]:
        """Encodes observations whose entries have one or two leading axes."""
        ...


class ConvStage(eqx.Module):
    """Convolution, halving (2x2 maximum, or the stride of the convolution), RMSNorm, SiLU."""

    conv: Conv2D
    norm: RMSNorm
    pool: bool = eqx.field(static=True)

    def __call__(self, x: Float[Array, "b h w i"]) -> Float[Array, "b h2 w2 o"]:
        if self.pool:
            # The four pixels of a pooled block are the four phases of the convolution's result.
            few = x.shape[-1] < FEW_CHANNELS
            x = self.conv.phases(to_phases(x)) if few else to_phases(self.conv(x))
            x = x.max(-2)
        else:
            x = self.conv(x)
        return jax.nn.silu(self.norm(x))


class SimpleEncoder(eqx.Module):
    """MLP over the vector keys, convolutions over the image keys (paper appendix, algorithm 4).

    Args:
        obs_space: Observation keys without rewards and flags.
        depth: Channel unit; stage i has `depth * mults[i]` channels.
        mults: Channel multipliers, one per stage.
        layers: Depth of the MLP.
        units: Width of the MLP.
        kernel: Side of the convolution kernels.
        symlog: Whether continuous vectors are squashed by symlog.
        strided: Halve with strided convolutions instead of pooling.
        outer: Keep full resolution in the first stage.
    """

    mlp: MLP | None
    stages: tuple[ConvStage, ...]
    vectors: tuple[tuple[str, Space], ...] = eqx.field(static=True)
    images: tuple[str, ...] = eqx.field(static=True)
    symlog: bool = eqx.field(static=True)
    tokens: int = eqx.field(static=True)

    def __init__(
        self,
        obs_space: Mapping[str, Space],
        *,
        depth: int,
        mults: tuple[int, ...],
        layers: int,
        units: int,
        kernel: int,
        symlog: bool,
        strided: bool,
        outer: bool,
        key: Key[Array, ""],
    ):
        self.vectors = tuple((k, s) for k, s in sorted(obs_space.items()) if s.kind != "image")
        self.images = tuple(sorted(k for k, s in obs_space.items() if s.kind == "image"))
        self.symlog = symlog
        self.mlp, self.stages, self.tokens = None, (), 0
        mlp_key, conv_key = jax.random.split(key)
        if self.vectors:
            self.mlp = MLP(flat_width(dict(self.vectors)), units, layers, key=mlp_key)
            self.tokens += units
        if self.images:
            channels = [sum(obs_space[k].shape[2] for k in self.images)]
            channels += [depth * m for m in mults]
            stages = []
            for i, k in enumerate(jax.random.split(conv_key, len(mults))):
                halve = not (outer and i == 0)
                stride = 2 if strided and halve else 1
                conv = Conv2D(channels[i], channels[i + 1], kernel, stride, key=k)
                stages.append(ConvStage(conv, RMSNorm(channels[i + 1]), halve and not strided))
            self.stages = tuple(stages)
            height, width = obs_space[self.images[0]].shape[:2]
            factor = 2 ** (len(mults) - bool(outer))
            self.tokens += (height // factor) * (width // factor) * channels[-1]

    def __call__(
        self, obs: Mapping[str, Shaped[Array, "..."]], dtype: DTypeLike
    ) -> Float[Array, "*b tokens"]:
        outs = []
        if self.mlp is not None:
            name, space = self.vectors[0]
            ndim = obs[name].ndim - space.ndim
            x = encode_flat(obs, dict(self.vectors), squash=self.symlog, batch_ndim=ndim)
            outs.append(self.mlp(x.astype(dtype)))
        if self.stages:
            x = jnp.concatenate([obs[k] for k in self.images], -1)
            batch = x.shape[:-3]
            x = x.astype(dtype) / 255 - 0.5
            x = x.reshape(-1, *x.shape[-3:])
            for stage in self.stages:
                x = stage(x)
            outs.append(x.reshape(*batch, -1))
        return jnp.concatenate(outs, -1)


ENCODERS: dict[str, Callable[..., Encoder]] = {"simple": SimpleEncoder}
"""By the name that `agent.enc.typ` gives; others are given as `module:Class`."""
