"""Reports on evaluation episodes, which training never sees."""

import contextlib
import pathlib
from collections.abc import Mapping

from reverie.actors.collector import Rollout
from reverie.config.schema import Config
from reverie.learner.learner import Learner
from reverie.replay.replay import Replay
from reverie.run import experience
from reverie.run.report import report
from reverie.spaces import Space
from reverie.track.drawing import Drawing
from reverie.track.logger import Logger

PREFIX = "eval/report"


class HeldOut:
    """Keeps the newest evaluation episodes in a replay of their own and predicts them open-loop.

    Args:
        config: Its capacity, and what a report asks for.
        spaces: Observation and action keys.
        latents: Latents of the agent.
        folder: Run folder; plots go into its folder `eval`.
    """

    def __init__(
        self,
        config: Config,
        spaces: Mapping[str, Space],
        latents: Mapping[str, Space],
        folder: pathlib.Path,
    ):
        self._batch_size = config.batch_size
        self._batches = config.run.report_batches
        self._folder = folder / "eval"
        self.replay: Replay = experience.eval_replay(config, spaces, latents)
        self._previews = experience.report_batches(config, self.replay)

    def add(self, rollout: Rollout) -> None:
        """Keeps steps of evaluation environments."""
        self.replay.add(rollout.steps, rollout.streams)

    def report(self, learner: Learner, logger: Logger, drawing: Drawing) -> None:
        """Logs a report as `eval/report/...` as soon as there are steps enough for a batch."""
        if self.replay.ready(self._batch_size):
            to = (logger, self._folder, self._batches, PREFIX, drawing)
            report(learner, self._previews, *to)
            logger.add(self.replay.stats(), prefix="eval/replay")

    def close(self) -> None:
        """Ends the threads."""
        with contextlib.closing(self.replay):
            self._previews.close()
