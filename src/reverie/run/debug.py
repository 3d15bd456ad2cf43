"""Checks of `run.debug`, which find a bad number where it enters."""

from collections.abc import Mapping

import numpy as np

from reverie.learner.nonfinite import NonFiniteError


def check_numbers(arrays: Mapping[str, np.ndarray], what: str) -> None:
    """Checks that floating-point arrays hold no NaN and no positive infinity.

    Negative infinity is allowed: in an observation it marks a missing value. Metrics under `log/`
    may be NaN and are not checked.

    Raises:
        NonFiniteError: If one does; the message names the key and the first index.
    """
    for key, array in arrays.items():
        if key.startswith("log/") or array.dtype.kind in "biu":
            continue
        values = array.astype(np.float32)
        bad = np.isnan(values) | np.isposinf(values)
        if bad.any():
            index = tuple(np.argwhere(bad)[0].tolist())
            raise NonFiniteError(f"{key} at index {index} of the {what} is {values[index]}.")
