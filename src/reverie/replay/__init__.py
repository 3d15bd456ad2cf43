"""Experience replay: streams of steps in chunks, sequences out of them, and prefetched batches.

`Replay` stores transitions and hands out sequences, `Batches` prefetches them as training batches.
Nothing here imports jax.
"""
