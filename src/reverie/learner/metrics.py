"""Metrics of an update as one array with static names."""

import dataclasses
import functools
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np


@functools.partial(jax.tree_util.register_dataclass, data_fields=["values"], meta_fields=["names"])
@dataclasses.dataclass(frozen=True)
class MetricVector:
    """The metrics of one update as one device array, so that reading them is one transfer.

    Args:
        values: float32 array of shape [len(names)].
        names: Static names, sorted.
    """

    values: jax.Array
    names: tuple[str, ...]

    @classmethod
    def pack(cls, metrics: Mapping[str, jax.Array]) -> "MetricVector":
        """Packs scalars of any type; a value that is not a scalar raises TypeError."""
        keys = tuple(sorted(metrics))
        shaped = {key: jnp.shape(metrics[key]) for key in keys if jnp.shape(metrics[key])}
        if shaped:
            raise TypeError(f"Training metrics have to be scalars, but these have axes: {shaped}.")
        return cls(jnp.stack([jnp.asarray(metrics[key], jnp.float32) for key in keys]), keys)

    def unpack(self) -> dict[str, float]:
        """Waits for the values and returns them by name."""
        return dict(zip(self.names, np.asarray(self.values).tolist(), strict=True))
