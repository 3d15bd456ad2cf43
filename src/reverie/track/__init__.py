"""Tracking: what a run writes down, shows and draws.

`Logger` collects metrics and hands them to sinks (the terminal, JSONL files, video and image
files, TensorBoard, Weights & Biases, Scope). `EpisodeStats`, `Achievements`, `Aggregator`,
`Rates` and `usage` produce the numbers, and `Drawing` draws in a thread. `learning_curve` and
`openloop_plot` turn a run folder and a report into pictures. Importing this package imports
neither jax nor matplotlib nor pillow: pictures load what they need when drawn.
"""

from reverie.track.achievements import Achievements
from reverie.track.curve import learning_curve
from reverie.track.drawing import Drawing
from reverie.track.logger import Logger
from reverie.track.openloop import openloop_plot, openloop_video
from reverie.track.published import Curve, published_curve
from reverie.track.rates import Rates
from reverie.track.sinks.base import OutputError, Sink
from reverie.track.sinks.jsonl import JsonlSink, read_jsonl
from reverie.track.sinks.media import MediaSink
from reverie.track.sinks.registry import check_outputs, make_sinks
from reverie.track.sinks.terminal import TerminalSink
from reverie.track.stats import Aggregator, EpisodeStats
from reverie.track.usage import usage
from reverie.track.video import write_image, write_video

__all__ = [
    "Achievements",
    "Aggregator",
    "Curve",
    "Drawing",
    "EpisodeStats",
    "JsonlSink",
    "Logger",
    "MediaSink",
    "OutputError",
    "Rates",
    "Sink",
    "TerminalSink",
    "check_outputs",
    "learning_curve",
    "make_sinks",
    "openloop_plot",
    "openloop_video",
    "published_curve",
    "read_jsonl",
    "usage",
    "write_image",
    "write_video",
]
