"""Runs an agent on devices and keeps it: compilation, asynchronous updates, checkpoints."""
