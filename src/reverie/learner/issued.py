"""An update that was handed to the devices and not yet looked at."""

import dataclasses
import pathlib

import numpy as np

from reverie.learner import nonfinite
from reverie.learner.metrics import MetricVector
from reverie.learner.programs import Batch


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
