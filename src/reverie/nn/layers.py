"""Layers of the 2024 DreamerV3 architecture, as Equinox modules.

Parameters are float32. A layer computes in the dtype of its input and casts its weights to it;
norms compute in float32. Kernels start as a truncated normal (`init_kernel`), biases as zeros.
"""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key

from reverie.nn.conv import conv2d
from reverie.nn.functional import where_mask
from reverie.nn.initial import truncated_normal
from reverie.nn.phases import phase_conv, upsampled_conv


def init_kernel(
    key: Key[Array, ""], shape: tuple[int, ...], fan_in: int, outscale: float
) -> Float[Array, "..."]:
    """Normal truncated to two standard deviations, rescaled to variance `outscale^2 / fan_in`."""
    # 1.1368 restores the variance that truncation at two standard deviations removes.
    scale = 1.1368 * math.sqrt(1 / fan_in) * outscale
    return scale * truncated_normal(key, shape)


class Linear(eqx.Module):
    """`x @ kernel + bias` over the last axis."""

    kernel: Float[Array, "i o"]
    bias: Float[Array, " o"]

    def __init__(self, inputs: int, outputs: int, *, outscale: float = 1.0, key: Key[Array, ""]):
        self.kernel = init_kernel(key, (inputs, outputs), inputs, outscale)
        self.bias = jnp.zeros(outputs)

    def __call__(
        self, x: Float[Array, "*b i"], keep: Bool[Array, "*b"] | None = None
    ) -> Float[Array, "*b o"]:
        """Where `keep` is false, x counts as zeros."""
        y = x @ self.kernel.astype(x.dtype)
        # Behind the product a mask is part of what follows; before it, it is a pass of its own.
        y = y if keep is None else where_mask(keep, y, 0.0)
        return y + jax.lax.broadcast_to_rank(self.bias.astype(x.dtype), y.ndim)


class BlockLinear(eqx.Module):
    """A linear layer whose kernel is block-diagonal with g blocks.

    Inputs and results are in block form (`to_blocks`): [g, *b, width of one block].

    Args:
        inputs: Input width, cut into g slices.
        outputs: Output width, made of one slice per block.
        blocks: Number of blocks g.
        shared: Width of a further input that every block sees in full.
    """

    kernel: Float[Array, "g i o"]
    bias: Float[Array, " go"]

    def __init__(
        self, inputs: int, outputs: int, blocks: int, shared: int = 0, *, key: Key[Array, ""]
    ):
        if inputs % blocks or outputs % blocks:
            raise ValueError(
                f"Cannot cut {inputs} inputs and {outputs} outputs into {blocks} equal blocks."
            )
        shape = (blocks, inputs // blocks + shared, outputs // blocks)
        self.kernel = init_kernel(key, shape, blocks * shape[1], 1.0)
        self.bias = jnp.zeros(outputs)

    def __call__(
        self, x: Float[Array, "g *b i"], shared: Float[Array, "*b s"] | None = None
    ) -> Float[Array, "g *b o"]:
        if shared is not None:
            shared = jnp.broadcast_to(shared, (len(x), *shared.shape))
            x = jnp.concatenate([x, shared], -1)
        return block_product(x, self.kernel.astype(x.dtype)) + self.block_bias(x)

    def block_bias(self, x: Float[Array, "g *b i"]) -> Float[Array, "g ..."]:
        """The bias in block form, ready to be added to the result for `x`."""
        return self.bias.astype(x.dtype).reshape(len(x), *[1] * (x.ndim - 2), -1)


class BlockGates(eqx.Module):
    """A `BlockLinear` whose result is cut in parts: part j is the j-th slice of every block.

    Each part is a product of its own. Cutting the full result would copy it in small strides.
    """

    linear: BlockLinear
    parts: int = eqx.field(static=True)

    def __init__(self, inputs: int, outputs: int, blocks: int, parts: int, *, key: Key[Array, ""]):
        self.linear = BlockLinear(inputs, parts * outputs, blocks, key=key)
        self.parts = parts

    def __call__(self, x: Float[Array, "g *b i"]) -> list[Float[Array, "g *b o"]]:
        return jnp.split(self.linear(x), self.parts, -1)


def to_blocks(x: Float[Array, "*b n"], blocks: int) -> Float[Array, "g *b i"]:
    """Cuts the last axis into blocks and brings the block axis to the front."""
    return jnp.moveaxis(x.reshape(*x.shape[:-1], blocks, -1), -2, 0)


def from_blocks(x: Float[Array, "g *b i"]) -> Float[Array, "*b n"]:
    """Inverse of `to_blocks`."""
    x = jnp.moveaxis(x, 0, -2)
    return x.reshape(*x.shape[:-2], -1)


def block_product(
    x: Float[Array, "g *b i"], kernel: Float[Array, "g i o"]
) -> Float[Array, "g *b o"]:
    """Product of each block with its own kernel.

    The blocks lead in both operands, which is the only order that XLA's CPU backend hands to its
    fast matrix product; with the blocks in the middle it is five times slower there.
    """
    y = jax.lax.dot_general(
        x.reshape(len(x), -1, x.shape[-1]), kernel, (((2,), (1,)), ((0,), (0,)))
    )
    return y.reshape(*x.shape[:-1], -1)


class RMSNorm(eqx.Module):
    """`x / sqrt(mean(x^2) + 1e-4) * scale` over the last axis, computed in float32."""

    scale: Float[Array, " n"]

    def __init__(self, size: int):
        self.scale = jnp.ones(size)

    def __call__(self, x: Float[Array, "*b n"]) -> Float[Array, "*b n"]:
        y = x.astype(jnp.float32)
        scale = jax.lax.broadcast_to_rank(self.scale, x.ndim)
        y = y * jax.lax.rsqrt(jnp.mean(jnp.square(y), -1, keepdims=True) + 1e-4) * scale
        return y.astype(x.dtype)

    def blocks(self, x: Float[Array, "g *b i"]) -> Float[Array, "g *b i"]:
        """The same norm for a vector in block form, over all its blocks."""
        y = x.astype(jnp.float32)
        mean = jnp.mean(jnp.square(y), (0, -1), keepdims=True)
        y = (
            y
            * jax.lax.rsqrt(mean + 1e-4)
            * to_blocks(self.scale, len(x)).reshape(len(x), *[1] * (x.ndim - 2), -1)
        )
        return y.astype(x.dtype)


class Dense(eqx.Module):
    """Linear, RMSNorm, SiLU: the unit that every fully connected stack repeats."""

    linear: Linear
    norm: RMSNorm

    def __init__(self, inputs: int, outputs: int, *, key: Key[Array, ""]):
        self.linear = Linear(inputs, outputs, key=key)
        self.norm = RMSNorm(outputs)

    def __call__(
        self, x: Float[Array, "*b i"], keep: Bool[Array, "*b"] | None = None
    ) -> Float[Array, "*b o"]:
        """Where `keep` is false, x counts as zeros."""
        return self.activate(self.linear(x, keep))

    def activate(self, x: Float[Array, "*b o"]) -> Float[Array, "*b o"]:
        """What follows the linear layer."""
        return jax.nn.silu(self.norm(x))


def dense_stack(inputs: int, units: int, layers: int, key: Key[Array, ""]) -> tuple[Dense, ...]:
    """`Dense` layers of equal width, one after the other."""
    keys = jax.random.split(key, max(layers, 1))
    sizes = [inputs] + [units] * layers
    return tuple(Dense(sizes[i], units, key=keys[i]) for i in range(layers))


class MLP(eqx.Module):
    """A `dense_stack`."""

    layers: tuple[Dense, ...]

    def __init__(self, inputs: int, units: int, layers: int, *, key: Key[Array, ""]):
        self.layers = dense_stack(inputs, units, layers, key)

    def __call__(self, x: Float[Array, "*b i"]) -> Float[Array, "*b o"]:
        for layer in self.layers:
            x = layer(x)
        return x


class Conv2D(eqx.Module):
    """A 2D convolution, NHWC, SAME padding.

    Args:
        inputs: Input channels.
        outputs: Output channels.
        kernel: Side of the square kernel.
        stride: Step between outputs.
        transposed: Whether the stride enlarges the image instead of shrinking it.
    """

    kernel: Float[Array, "k k i o"]
    bias: Float[Array, " o"]
    stride: int = eqx.field(static=True)
    transposed: bool = eqx.field(static=True)

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        stride: int = 1,
        *,
        transposed: bool = False,
        outscale: float = 1.0,
        key: Key[Array, ""],
    ):
        shape = (kernel, kernel, inputs, outputs)
        self.kernel = init_kernel(key, shape, kernel * kernel * inputs, outscale)
        self.bias = jnp.zeros(outputs)
        self.stride = stride
        self.transposed = transposed

    def __call__(self, x: Float[Array, "b h w i"]) -> Float[Array, "b h2 w2 o"]:
        kernel = self.kernel.astype(x.dtype)
        if self.stride == 1:
            return self._biased(conv2d(x, kernel))
        conv = jax.lax.conv_transpose if self.transposed else jax.lax.conv_general_dilated
        layout = ("NHWC", "HWIO", "NHWC")
        strides = (self.stride, self.stride)
        return self._biased(conv(x, kernel, strides, "SAME", dimension_numbers=layout))

    def phases(self, x: Float[Array, "b h w 4 i"]) -> Float[Array, "b h w 4 o"]:
        """Its result at stride 1, both in phase form (`nn.phases`)."""
        return self._biased(phase_conv(x, self.kernel.astype(x.dtype)))

    def upsampled(self, x: Float[Array, "b h w i"]) -> Float[Array, "b h w 4 o"]:
        """Its result at stride 1 on the doubled image, in phase form (`nn.phases`)."""
        return self._biased(upsampled_conv(x, self.kernel.astype(x.dtype)))

    def _biased(self, y: Float[Array, "*b o"]) -> Float[Array, "*b o"]:
        # The gradient of the bias is a sum over all pixels, of which half precision loses most.
        bias = jax.lax.broadcast_to_rank(self.bias.astype(jnp.float32), y.ndim)
        return (y.astype(jnp.float32) + bias).astype(y.dtype)
