"""Tracking: what a run writes down, shows and draws.

`Logger` collects metrics and hands them to sinks (the terminal, JSONL files, video and image
files, TensorBoard, Weights & Biases, Scope). `EpisodeStats`, `Achievements`, `Rates` and `usage`
produce the numbers. `learning_curve` and `openloop_plot` turn a run folder and a report into
pictures. Importing this package imports neither jax nor matplotlib nor pillow: pictures load what
they need when drawn.
"""

from reverie.track.achievements import Achievements as Achievements
from reverie.track.encoding.video import write_image as write_image
from reverie.track.encoding.video import write_video as write_video
from reverie.track.logger import Logger as Logger
from reverie.track.pictures.curve import learning_curve as learning_curve
from reverie.track.pictures.openloop import openloop_plot as openloop_plot
from reverie.track.pictures.openloop import openloop_video as openloop_video
from reverie.track.rates import Rates as Rates
from reverie.track.runs.published import Curve as Curve
from reverie.track.runs.published import published_curve as published_curve
from reverie.track.sinks.base import OutputError as OutputError
from reverie.track.sinks.base import Sink as Sink
from reverie.track.sinks.jsonl import JsonlSink as JsonlSink
from reverie.track.sinks.jsonl import read_jsonl as read_jsonl
from reverie.track.sinks.media import MediaSink as MediaSink
from reverie.track.sinks.registry import check_outputs as check_outputs
from reverie.track.sinks.registry import make_sinks as make_sinks
from reverie.track.sinks.terminal import TerminalSink as TerminalSink
from reverie.track.stats import EpisodeStats as EpisodeStats
from reverie.track.usage import usage as usage
