"""What happens when training produces a NaN or an infinity: the evidence is kept, the run stops."""

import json
import pathlib
import types
from collections.abc import Mapping
from typing import NoReturn

import numpy as np


class NonFiniteError(RuntimeError):
    """A loss, a gradient, an action or a parameter is NaN or infinite."""


def offending_metrics(metrics: Mapping[str, float]) -> list[str]:
    """Names of the losses and gradient norms that are NaN or infinite.

    A gradient that overflows under float16 loss scaling is not an error, because the agent skips
    that update: its gradient norm is then ignored. Losses have to be finite even so.
    """
    watched = [name for name in metrics if name == "loss" or name.startswith("loss/")]
    if not skipped(metrics):
        watched += [name for name in metrics if name.startswith("opt/grad_norm")]
    return sorted(name for name in watched if not np.isfinite(metrics[name]))


def skipped(metrics: Mapping[str, float]) -> bool:
    """Whether the agent skipped the update because a float16 gradient overflowed.

    It reports so by `opt/grad_overflow` above zero; other compute dtypes have no such metric.
    """
    return metrics.get("opt/grad_overflow", 0.0) > 0


def offending_arrays(arrays: Mapping[str, np.ndarray]) -> list[str]:
    """Names of the arrays that hold a NaN or an infinity."""
    found = {name: np.isfinite(value.astype(np.float32)).all() for name, value in arrays.items()}
    return sorted(name for name, finite in found.items() if not finite)


def stop(
    folder: pathlib.Path | None,
    event: str,
    subject: str,
    arrays: Mapping[str, np.ndarray] = types.MappingProxyType({}),
    metrics: Mapping[str, float] = types.MappingProxyType({}),
) -> NoReturn:
    """Keeps the evidence and raises the error.

    Args:
        folder: The run's folder, where `arrays.npz` and `metrics.json` go to `nonfinite/<event>`;
            None keeps nothing.
        event: Its name, such as `update-120`.
        subject: What is not finite, as the subject of a sentence.
        arrays: The batch or the observations and actions; bfloat16 is stored as float32.
        metrics: Scalars; NaN and infinities are written as strings, so that the file is valid JSON.

    Raises:
        NonFiniteError: Always.
    """
    where = "nothing was written"
    if folder is not None:
        target = folder / "nonfinite" / event
        target.mkdir(parents=True, exist_ok=True)
        # npz files know numpy's own types only, which bfloat16 is not.
        plain = {name: np.asarray(value) for name, value in arrays.items()}
        plain = {k: x if x.dtype.isbuiltin else x.astype(np.float32) for k, x in plain.items()}
        np.savez_compressed(target / "arrays.npz", allow_pickle=False, **plain)
        scalars = {k: float(x) if np.isfinite(x) else str(float(x)) for k, x in metrics.items()}
        (target / "metrics.json").write_text(json.dumps(scalars, indent=2, sort_keys=True))
        where = f"the evidence is in {target}"
    raise NonFiniteError(
        f"{subject} are NaN or infinite at {event}; {where}. The last checkpoint is from "
        "before this. Lower agent.opt.lr, or use --jax.compute_dtype float32."
    )
