"""An image encoder of your own: non-overlapping patches through one shared MLP.

    PYTHONPATH=examples reverie train --configs debug --task dummy_disc \
        --agent.enc.typ patch_encoder:PatchEncoder --agent.enc.extra '{patch: 16, units: 32}'
"""

import equinox as eqx
import jax
import jax.numpy as jnp

from reverie.nn.layers import MLP
from reverie.world.features import encode_flat, flat_width


class PatchEncoder(eqx.Module):
    """Cuts images into patches, embeds each, and adds the vector keys as they are.

    Args:
        obs_space: Observation keys.
        patch: Side of a patch; has to divide the sides of the images.
        units: Width of a patch's embedding.
    """

    embed: MLP
    images: tuple = eqx.field(static=True)
    vectors: tuple = eqx.field(static=True)
    patch: int = eqx.field(static=True)
    tokens: int = eqx.field(static=True)

    def __init__(self, obs_space, *, patch: int, units: int, key):
        self.images = tuple(sorted(k for k, s in obs_space.items() if s.kind == "image"))
        self.vectors = tuple(sorted((k, s) for k, s in obs_space.items() if s.kind != "image"))
        self.patch = patch
        height, width, _ = obs_space[self.images[0]].shape
        channels = sum(obs_space[k].shape[2] for k in self.images)
        self.embed = MLP(patch * patch * channels, units, 1, key=key)
        self.tokens = height // patch * (width // patch) * units + flat_width(dict(self.vectors))

    def __call__(self, obs, dtype):
        x = jnp.concatenate([obs[k] for k in self.images], -1).astype(dtype) / 255 - 0.5
        *batch, h, w, c = x.shape
        p = self.patch
        x = x.reshape(*batch, h // p, p, w // p, p, c)
        x = jnp.moveaxis(x, -4, -3).reshape(*batch, h // p * (w // p), p * p * c)
        tokens = jax.vmap(self.embed, -2, -2)(x).reshape(*batch, -1)
        if not self.vectors:
            return tokens
        flat = encode_flat(obs, dict(self.vectors), squash=True, batch_ndim=len(batch))
        return jnp.concatenate([tokens, flat.astype(dtype)], -1)
