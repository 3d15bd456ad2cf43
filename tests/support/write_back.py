"""Write-back of a batch at once, for tests of replay alone: in a run `Batches` does it."""


def write_back(replay, ids, latents, priority=None):
    """Fresh latents and priorities of the steps with these ids, `[B, T]`."""
    target = replay.locate(ids)
    replay.write(target, latents)
    if priority is not None:
        replay.prioritize(target, priority)
