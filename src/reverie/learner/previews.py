"""Reports of one device, with a recurrent state for each source of batches."""

from typing import Any

import jax
import numpy as np

from reverie.learner.programs import Batch, Programs, local, size

PyTree = Any


class Previews:
    """Runs the report program on one device, because the others would only repeat it.

    Args:
        programs: The agent's functions.
        device: Where the report is computed.
        key: Random key of all reports.
    """

    def __init__(self, programs: Programs, device: Any, key: jax.Array):
        self._programs = programs
        self._device = device
        self._key = key
        self._carries: dict[str, PyTree] = {}

    def run(
        self, program: Any, state: PyTree, batch: Batch, source: str, count: np.uint32
    ) -> dict[str, np.ndarray]:
        """Waits for a report that continues the one before from the same source."""
        carry = self._carries.get(source)
        if carry is None:
            carry = self._programs.init_carry(size(batch))
        inputs = jax.device_put((carry, batch), self._device)
        key = self._key.addressable_data(0)
        self._carries[source], results = program(local(state), *inputs, key, count)
        return jax.device_get(results)

    def restart(self) -> None:
        """Forgets the recurrent states."""
        self._carries.clear()
