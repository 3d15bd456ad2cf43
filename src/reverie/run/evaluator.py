"""Evaluations of a run, on their way to the logger."""

from reverie.actors.evaluate import Callback, Evaluation, evaluate
from reverie.actors.host import Actor
from reverie.envs.vector.vector import VectorEnv
from reverie.run.shutdown import Shutdown, Stopped
from reverie.track.logger import Logger


class Evaluator:
    """Evaluates an agent and logs the episodes under `eval/`.

    Args:
        envs: Environments of the evaluation alone.
        policy: Chooses the actions.
        logger: Receives the episodes.
        episodes: Number of episodes per evaluation.
        callbacks: Called with every rollout.
        shutdown: Ends an evaluation early.
    """

    def __init__(
        self,
        envs: VectorEnv,
        policy: Actor,
        logger: Logger,
        episodes: int,
        callbacks: tuple[Callback, ...] = (),
        shutdown: Shutdown | None = None,
    ):
        self._envs = envs
        self._policy = policy
        self._logger = logger
        self._episodes = episodes
        self._callbacks = callbacks
        self._shutdown = shutdown or Shutdown()

    def run(self, seed: int) -> Evaluation | None:
        """Plays the episodes.

        Args:
            seed: Decides which ones, as far as the environments follow their seeds.

        Returns:
            Those that ended before the run had to; None if there are none.

        Raises:
            Stopped: When a signal arrives.
        """
        result, records = evaluate(
            self._policy,
            self._envs,
            self._episodes,
            self._callbacks,
            seed=seed,
            over=lambda: self._shutdown.over,
            waiting=self._shutdown.interruptible,
            note=self._logger.note,
        )
        if self._shutdown.requested:
            raise Stopped
        for record in records:
            self._logger.add(record, prefix="eval")
        self._logger.add(result.achievements, prefix="eval")
        self._logger.add({"eval/env/restarts": self._envs.restarts})
        if len(records) < self._episodes:
            self._logger.note(
                f"The time of the run was up after {len(records)} of {self._episodes} episodes of "
                "an evaluation."
            )
        return result if records else None
