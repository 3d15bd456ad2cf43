"""Keeps the steps of the last evaluation in the run folder, where `reverie view` shows them."""

import contextlib
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from reverie.actors.collector import Rollout
from reverie.actors.evaluate import shares
from reverie.replay.chunk import Layout
from reverie.replay.files.archive import serials
from reverie.replay.replay import Replay
from reverie.spaces import Space

MOST_BYTES = 100_000_000
"""Of the steps of an evaluation; of a longer one the newest are kept."""


class Recorder:
    """Collects the episodes of an evaluation, as a callback of `evaluate`.

    Episodes that an environment plays beyond those that count are left out.
    """

    def __init__(
        self,
        folder: Path,
        spaces: Mapping[str, Space],
        latents: Mapping[str, Space],
        episodes: int,
        envs: int,
    ):
        spaces = {**spaces, **latents}
        capacity = max(256 * envs, MOST_BYTES // Layout(spaces, tuple(latents)).nbytes(1))
        self._steps = Replay(
            spaces,
            length=2,
            capacity=capacity,
            latents=tuple(latents),
            # Whoever looks at episodes of before asks for numbers that are no longer there.
            serial=max(serials(folder), default=-1) + 1,
        )
        self._folder, self._missing = folder, shares(episodes, envs)

    def __call__(self, rollout: Rollout) -> None:
        """Takes the next steps of all environments."""
        playing = np.flatnonzero(self._missing)
        if not len(playing):
            return
        steps = {key: value[:, playing] for key, value in rollout.steps.items()}
        self._steps.add(steps, playing.tolist())
        for index in playing[steps["is_last"][-1]]:
            self._missing[index] -= 1
            self._steps.end(int(index))  # So that each episode has a file of its own.

    def save(self, note: Callable[[str], object]) -> None:
        """Replaces what is in the folder, as the last thing; tells if that is not possible."""
        folder = self._folder
        new = folder.with_name(f"{folder.name}.new")
        try:
            with contextlib.closing(self._steps):
                shutil.rmtree(new, ignore_errors=True)  # Of an evaluation that was killed.
                self._steps.save(new).wait()
            shutil.rmtree(folder, ignore_errors=True)
            new.rename(folder)
        except OSError as error:
            note(f"The steps of the evaluation are not kept: {error}")
