"""Weights & Biases."""

import functools
import io
import os
import secrets
from collections.abc import Mapping
from typing import Any

import numpy as np

from reverie.track.encoding.names import printable
from reverie.track.encoding.video import gif
from reverie.track.sinks.background import PATIENCE
from reverie.track.sinks.base import OutputError, RunInfo, Sink, Value, kept, showable

ID = "wandb_id.txt"
"""Keeps the id of the run in its folder, so that a resume goes on with the same run."""


@functools.cache
def check() -> None:
    """Imports what the sink needs and makes sure that it may log in, asking on a terminal."""
    from wandb import Error, setup
    from wandb.sdk.wandb_login import _login

    if setup().settings.mode != "online":
        return
    try:
        # `wandb.login` also greets the user by a name that it asks the server for, which would
        # hold the run up where there is no network.
        _login(_silent=True)
    except Error as error:
        raise OutputError(
            f"logger.outputs names 'wandb': {error} To keep everything in the run folder and "
            "upload it later with `wandb sync`, set the environment variable WANDB_MODE=offline."
        ) from error


class WandbSink(Sink):
    """Sends numbers, texts, images, videos, histograms and the configuration to one W&B run.

    The variables that W&B reads decide the rest, such as `WANDB_MODE=offline`, `WANDB_PROJECT`
    and `WANDB_ENTITY`. Its files lie in `wandb/` of the run folder.
    """

    def __init__(self, run: RunInfo):
        import wandb

        run.logdir.mkdir(parents=True, exist_ok=True)
        self._fps = run.fps
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", "reverie"),
            name=printable(run.logdir.resolve().name),
            dir=str(run.logdir),
            id=kept(run.logdir / ID, r"[\w-]{1,64}", secrets.token_hex(4)),
            config=dict(run.options or {}),
            resume="allow",
            # Another run of the same process, such as one of the user's own, goes on beside it.
            reinit="create_new",
            settings=wandb.Settings(console="off", finish_timeout=0.8 * PATIENCE),
        )

    def write(self, step: int, metrics: Mapping[str, Value]) -> None:
        """Sends all metrics."""
        self._run.log(
            {printable(k): self._convert(v) for k, v in showable(metrics).items()}, step=step
        )

    def close(self) -> None:
        """Ends the run, waiting some seconds until everything is sent."""
        self._run.finish()

    def _convert(self, value: Value) -> Any:
        import wandb

        if not isinstance(value, np.ndarray):
            return value
        if value.ndim == 1:
            return wandb.Histogram(value.tolist())
        if value.ndim == 3:
            return wandb.Image(value)
        return wandb.Video(io.BytesIO(gif(value, self._fps)), format="gif")
