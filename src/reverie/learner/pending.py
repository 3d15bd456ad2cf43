"""An update that was handed to the devices and not yet looked at, and its metrics."""

import dataclasses
import functools
import pathlib
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from reverie.learner import nonfinite

Batch = dict[str, np.ndarray]


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


@dataclasses.dataclass(frozen=True)
class IssuedUpdate:
    """What has to be known of an update until its metrics are there.

    Args:
        number: Of the update, from 1 on.
        batch: What it was computed from: the evidence, should it fail.
        metrics: As the device will deliver them.
    """

    number: int
    batch: Batch
    metrics: MetricVector

    def finish(self, dump_folder: pathlib.Path | None) -> dict[str, float]:
        """Waits for the metrics and checks them.

        Args:
            dump_folder: The run's folder, where evidence is written; None writes nothing.

        Raises:
            NonFiniteError: If the update produced a NaN or an infinity.
        """
        metrics = self.metrics.unpack()
        if bad := nonfinite.offending_metrics(metrics):
            event, subject = f"update-{self.number}", f"Metrics {bad}"
            nonfinite.stop(dump_folder, event, subject, self.batch, metrics)
        if nonfinite.skipped(metrics):
            # An overflowed gradient has no norm; its infinity would hide those of other updates.
            return {name: value for name, value in metrics.items() if np.isfinite(value)}
        return metrics
