"""Decoder: latent features -> one distribution or image per observation key."""

from collections.abc import Collection, Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, Shaped

from reverie.nn.dists import Categorical, SymlogMSE
from reverie.nn.functional import f32
from reverie.nn.layers import (
    MLP,
    BlockLinear,
    Conv2D,
    Dense,
    Linear,
    RMSNorm,
    from_blocks,
    to_blocks,
)
from reverie.nn.phases import from_phases
from reverie.spaces import Space


class ImagePrediction(eqx.Module):
    """Predicted image in [0, 1], [*b, h, w, c]."""

    mean: Float[Array, "*b h w c"]

    def pred(self) -> Float[Array, "*b h w c"]:
        """The predicted image."""
        return self.mean

    def loss(self, target: Shaped[Array, "*b h w c"]) -> Float[Array, "*b"]:
        """Squared error to the uint8 image divided by 255, summed over pixels and channels."""
        return jnp.square(self.mean - target.astype(f32) / 255).sum((-3, -2, -1))


class UpStage(eqx.Module):
    """Doubling (nearest neighbour, or the convolution's own stride), convolution, RMSNorm, SiLU.

    The last stage of a decoder has no norm and ends linear.
    """

    conv: Conv2D
    norm: RMSNorm | None
    upsample: bool = eqx.field(static=True)

    def __call__(self, x: Float[Array, "b h w i"]) -> Float[Array, "b h2 w2 o"]:
        x = self.conv.upsampled(x) if self.upsample else self.conv(x)
        x = x if self.norm is None else jax.nn.silu(self.norm(x))
        return from_phases(x) if self.upsample else x


class ImageDecoder(eqx.Module):
    """Spatial features from the latent, then upsampling stages (paper appendix).

    With `bspace` blocks, `deter` enters through a block-diagonal layer and the samples through a
    two-layer MLP; with `bspace` 0 one dense layer takes both.
    """

    from_deter: BlockLinear | None
    from_stoch: Dense | None
    from_hidden: Linear
    norm: RMSNorm
    stages: tuple[UpStage, ...]
    grid: tuple[int, int, int] = eqx.field(static=True)

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        deter: int,
        stoch: int,
        *,
        depth: int,
        mults: tuple[int, ...],
        units: int,
        kernel: int,
        bspace: int,
        outscale: float,
        strided: bool,
        outer: bool,
        key: Key[Array, ""],
    ):
        keys = jax.random.split(key, 3 + len(mults))
        channels = [depth * m for m in mults]
        factor = 2 ** (len(mults) - bool(outer))
        height, width, image_channels = image_shape
        self.grid = (height // factor, width // factor, channels[-1])
        size = self.grid[0] * self.grid[1] * self.grid[2]
        if bspace:
            self.from_deter = BlockLinear(deter, size, bspace, key=keys[0])
            self.from_stoch = Dense(stoch, 2 * units, key=keys[1])
            self.from_hidden = Linear(2 * units, size, key=keys[2])
        else:
            self.from_deter = self.from_stoch = None
            self.from_hidden = Linear(deter + stoch, size, key=keys[2])
        self.norm = RMSNorm(channels[-1])
        stages, inputs = [], channels[-1]
        for i, outputs in enumerate([*channels[-2::-1], image_channels]):
            last = i == len(mults) - 1
            double = not (outer and last)
            conv = Conv2D(
                inputs,
                outputs,
                kernel,
                2 if strided and double else 1,
                transposed=strided and double,
                outscale=outscale if last else 1.0,
                key=keys[3 + i],
            )
            norm = None if last else RMSNorm(outputs)
            stages.append(UpStage(conv, norm, double and not strided))
            inputs = outputs
        self.stages = tuple(stages)

    def __call__(
        self, deter: Float[Array, "b D"], stoch: Float[Array, "b SC"]
    ) -> Float[Array, "b h w c"]:
        height, width, channels = self.grid
        if self.from_deter is None or self.from_stoch is None:
            x = self.from_hidden(jnp.concatenate([stoch, deter], -1))
            x = x.reshape(-1, height, width, channels)
        else:
            g = self.from_deter.kernel.shape[0]
            x = self.from_deter(to_blocks(deter, g)).reshape(g, -1, height, width, channels // g)
            x = from_blocks(x)
            y = self.from_hidden(self.from_stoch(stoch))
            x = x + y.reshape(-1, height, width, channels)
        x = jax.nn.silu(self.norm(x))
        for stage in self.stages:
            x = stage(x)
        return jax.nn.sigmoid(x.astype(f32))


class SimpleDecoder(eqx.Module):
    """MLP with one output layer per vector key, and an `ImageDecoder` for all image keys.

    Args:
        obs_space: Observation keys without rewards and flags.
        deter: Width of the deterministic state.
        stoch: Width of the flattened samples.
        layers, units: Of the MLP.
        outscale: Scale of the initial output kernels.
        **image: Of `ImageDecoder`, see there and `SimpleEncoder`.
    """

    mlp: MLP | None
    outputs: dict[str, Linear]
    image: ImageDecoder | None
    vectors: tuple[tuple[str, Space], ...] = eqx.field(static=True)
    images: tuple[tuple[str, Space], ...] = eqx.field(static=True)

    def __init__(
        self,
        obs_space: Mapping[str, Space],
        deter: int,
        stoch: int,
        *,
        layers: int,
        units: int,
        outscale: float,
        key: Key[Array, ""],
        **image: Any,
    ):
        self.vectors = tuple((k, s) for k, s in sorted(obs_space.items()) if s.kind != "image")
        self.images = tuple((k, s) for k, s in sorted(obs_space.items()) if s.kind == "image")
        mlp_key, out_key, image_key = jax.random.split(key, 3)
        self.mlp, self.outputs, self.image = None, {}, None
        if self.vectors:
            self.mlp = MLP(stoch + deter, units, layers, key=mlp_key)
            keys = jax.random.split(out_key, len(self.vectors))
            self.outputs = {
                name: Linear(units, space.width, outscale=outscale, key=k)
                for k, (name, space) in zip(keys, self.vectors, strict=True)
            }
        if self.images:
            height, width, _ = self.images[0][1].shape
            channels = sum(s.shape[2] for _, s in self.images)
            self.image = ImageDecoder(
                (height, width, channels),
                deter,
                stoch,
                units=units,
                outscale=outscale,
                key=image_key,
                **image,
            )

    def predict_vectors(
        self,
        deter: Float[Array, "*b D"],
        stoch: Float[Array, "*b SC"],
        only: Collection[str] | None = None,
    ) -> dict[str, Categorical | SymlogMSE]:
        """One prediction per vector key, or for some of them alone."""
        outs: dict[str, Categorical | SymlogMSE] = {}
        if self.mlp is None:
            return outs
        x = self.mlp(jnp.concatenate([stoch, deter], -1))
        for name, space in self.vectors:
            if only is not None and name not in only:
                continue
            y = self.outputs[name](x).astype(f32)
            if space.kind == "discrete":
                outs[name] = Categorical(y, space.classes, space.shape)
            else:
                outs[name] = SymlogMSE(y, space.shape)
        return outs

    def __call__(
        self, deter: Float[Array, "*b D"], stoch: Float[Array, "*b SC"]
    ) -> dict[str, Categorical | SymlogMSE | ImagePrediction]:
        """One prediction per observation key."""
        outs: dict[str, Categorical | SymlogMSE | ImagePrediction] = {
            **self.predict_vectors(deter, stoch)
        }
        batch = deter.shape[:-1]
        if self.image is not None:
            flat = lambda x: x.reshape(-1, x.shape[-1])  # noqa: E731
            x = self.image(flat(deter), flat(stoch))
            x = x.reshape(*batch, *x.shape[1:])
            start = 0
            for name, space in self.images:
                stop = start + space.shape[2]
                outs[name] = ImagePrediction(x[..., start:stop])
                start = stop
        return outs
