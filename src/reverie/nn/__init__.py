"""Layers, distributions and small functions."""
