"""Tracking: what a run writes down, shows and draws.

`Logger` collects metrics and hands them to sinks (the terminal, JSONL files, video and image
files, TensorBoard, Weights & Biases, Scope). `read_jsonl` reads what a run has written, and
`learning_curve` draws it. Importing this package imports neither jax nor matplotlib nor pillow:
pictures load what they need when drawn. The names are for users; `as` tells type checkers that they
are.
"""

from reverie.track.logger import Logger as Logger
from reverie.track.pictures.curve import learning_curve as learning_curve
from reverie.track.runs.published import published_curve as published_curve
from reverie.track.sinks.base import Sink as Sink
from reverie.track.sinks.jsonl import read_jsonl as read_jsonl
