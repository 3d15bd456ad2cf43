"""Event files for TensorBoard, written by tensorboardX."""

import math
import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from reverie.track.encoding.names import printable
from reverie.track.encoding.video import even_rgb, gif, png
from reverie.track.sinks.base import RunInfo, Sink, Value, showable


def check() -> None:
    """Imports what the sink needs."""
    import tensorboardX  # noqa: F401


class TensorboardSink(Sink):
    """Writes an event file into the run folder, one per process, which `tensorboard` reads.

    Numbers become scalars; images, videos (animated gif), texts and histograms keep their kind.
    Messages are the text `notes`, the configuration is the text `config` and the
    hyperparameters. Everything is on disk when a call returns.
    """

    def __init__(self, run: RunInfo):
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.summary import hparams, text

        run.logdir.mkdir(parents=True, exist_ok=True)
        self._run = run
        # Numbered, because TensorBoard reads files in the order of their names, and the time in
        # them may be that of a clock which was set back.
        number = sum(1 for _ in run.logdir.glob("events.*.tfevents.*"))
        self._writer = EventsWriter(str(run.logdir / f"events.{number:04d}"))
        if run.first_step is not None:
            # Events of earlier files from this step on are hidden.
            log = _protos()[0].SessionLog
            self._event(run.first_step + 1, session_log=log(status=log.START))
        if run.options:
            options = {
                k: v if isinstance(v, int | float) and math.isfinite(v) else str(v)
                for k, v in run.flat().items()
            }
            experiment, session, _ = hparams(options, {})
            # Indented lines are a block of code to the viewer.
            lines = "\n".join(f"    {key}: {value}" for key, value in options.items())
            for summary in (experiment, session, text("config", lines)):
                self._event(run.first_step or 0, summary=summary)
        self._writer.flush()

    def write(self, step: int, metrics: Mapping[str, Value]) -> None:
        """Writes all metrics."""
        for key, value in showable(metrics).items():
            self._event(step, summary=_summary(printable(key), value, self._run.fps))
        self._writer.flush()

    def note(self, text: str) -> None:
        """Writes a message."""
        self.write(self._run.step(), {"notes": text})

    def close(self) -> None:
        """Closes the file."""
        self._writer.close()

    def _event(self, step: int, **content: Any) -> None:
        event = _protos()[0].Event(step=step, wall_time=time.time(), **content)
        self._writer.write_event(event)


def _summary(tag: str, value: Value, fps: float) -> Any:
    from tensorboardX import summary

    Summary = _protos()[1].Summary
    if isinstance(value, str):
        return summary.text(tag, value)
    if not isinstance(value, np.ndarray):
        return Summary(value=[Summary.Value(tag=tag, simple_value=float(value))])
    if value.ndim == 1:
        histogram = summary.histogram("", value, bins=30).value[0].histo
        return Summary(value=[Summary.Value(tag=tag, histo=histogram)])
    frame = even_rgb(value)[0] if value.ndim == 4 else value
    image = Summary.Image(
        height=frame.shape[0],
        width=frame.shape[1],
        colorspace=3,
        encoded_image_string=gif(value, fps) if value.ndim == 4 else png(value),
    )
    return Summary(value=[Summary.Value(tag=tag, image=image)])


def _protos() -> tuple[Any, Any]:
    from tensorboardX.proto import event_pb2, summary_pb2

    return event_pb2, summary_pb2
