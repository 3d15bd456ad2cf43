"""Measures speed, memory and start-up time, each row in a process of its own.

Importing this package imports no jax, so that the measuring process leaves the devices alone.
"""

from reverie.bench.cases import BenchError, PolicyCase, Request, TrainCase
from reverie.bench.measure import measure
from reverie.bench.table import render

__all__ = ["BenchError", "PolicyCase", "Request", "TrainCase", "measure", "render"]
