"""Replay on disk: one file format, the folder of a run, and where chunks live."""
