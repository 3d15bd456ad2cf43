"""Whole runs: training, evaluation, and what they are built from."""
