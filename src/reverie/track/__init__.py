"""Tracking: what a run writes down, shows and draws.

`Logger` collects metrics and hands them to sinks (the terminal, JSONL files, video and image
files, TensorBoard, Weights & Biases, Scope). `EpisodeStats`, `Achievements`, `Aggregator`,
`Rates` and `usage` produce the numbers, and `Drawing` draws in a thread. `learning_curve` and
`openloop_plot` turn a run folder and a report into pictures. Importing this package imports
neither jax nor matplotlib nor pillow: pictures load what they need when drawn.
"""
