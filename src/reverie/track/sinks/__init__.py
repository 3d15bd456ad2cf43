"""Sinks: the places that metrics go to, made by name with `make_sinks`."""

from reverie.track.sinks.base import OutputError, RunInfo, Sink
from reverie.track.sinks.jsonl import JsonlSink, read_jsonl
from reverie.track.sinks.media import MediaSink
from reverie.track.sinks.registry import OUTPUTS, REMOTE, check_outputs, make_sinks
from reverie.track.sinks.terminal import TerminalSink

__all__ = [
    "OUTPUTS",
    "REMOTE",
    "JsonlSink",
    "MediaSink",
    "OutputError",
    "RunInfo",
    "Sink",
    "TerminalSink",
    "check_outputs",
    "make_sinks",
    "read_jsonl",
]
