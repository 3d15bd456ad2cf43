"""Replay in processes of its own, which Ray places: each has its share of the streams."""
