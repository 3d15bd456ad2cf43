"""Draws that leave out what cannot be read."""

import itertools
import logging
from collections.abc import Callable

import numpy as np

from reverie.replay.index import Index, Start
from reverie.replay.plan import Plan, make_plan
from reverie.replay.record import DamagedFile
from reverie.replay.storage import Chunk

_log = logging.getLogger(__name__)


def draw(
    index: Index,
    count: int,
    length: int,
    rng: np.random.Generator,
    use_online: bool,
    discard: Callable[[Chunk], None],
) -> Plan:
    """Draw sequences of chunks that agree with their checksums.

    Only the sequences that touch a damaged chunk are drawn anew. The others count as drawn already,
    for the online queue and for what a selector notes about them.

    Args:
        index: What can be drawn.
        count: Number of sequences.
        length: Steps of a sequence.
        rng: Random state of the selector's draws.
        use_online: Whether to empty the online queue first; without, it is a probe.
        discard: Called with a damaged chunk; has to remove it from the index.

    Raises:
        IndexError: If nothing can be drawn.
    """
    starts: list[Start] = []
    online = 0
    while True:
        drawn, queued = index.draw(count - len(starts), rng, use_online)
        plan = make_plan(starts + drawn, length, online + queued)
        damaged = _damaged(plan)
        if not damaged:
            return plan
        for chunk in damaged:
            discard(chunk)
        lost = {chunk.serial for chunk in damaged}
        sound = [lost.isdisjoint(piece.chunk.serial for piece in row) for row in plan.pieces]
        online = sum(sound[: online + queued])
        starts = list(itertools.compress(starts + drawn, sound))


def make_again(index: Index, steps: list[int], length: int) -> Plan | None:
    """The plan of sequences that were drawn before; None unless all can be drawn and read.

    Args:
        index: What can be drawn.
        steps: Ids of their first steps.
        length: Steps of each.
    """
    starts = [start for step in steps if (start := index.start(step))]
    if len(starts) < len(steps) or not starts:
        return None
    plan = make_plan(starts, length, 0)
    return None if _damaged(plan) else plan


def _damaged(plan: Plan) -> list[Chunk]:
    """The chunks of a plan that do not agree with their checksums; the reasons are logged."""
    damaged = []
    for chunk in {piece.chunk.serial: piece.chunk for row in plan.pieces for piece in row}.values():
        try:
            if chunk.backing is not None:
                chunk.backing.check()
        except (DamagedFile, FileNotFoundError) as error:
            _log.warning("Replay skips a damaged file: %s", error)
            damaged.append(chunk)
    return damaged
