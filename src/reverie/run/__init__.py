"""Whole runs: training, evaluation, and what they are built from."""

from reverie.run.scripts import launch

__all__ = ["launch"]
