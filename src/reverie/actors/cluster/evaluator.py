"""The process of an actor that plays evaluations beside training."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import cloudpickle

from reverie.actors.cluster.actor import ActorProcess
from reverie.actors.cluster.chunk import Failure

if TYPE_CHECKING:
    from reverie.actors.evaluate import Evaluation

Played = tuple["Evaluation", list[dict[str, Any]], int]
"""An evaluation, the records of its episodes, and restarts of environments so far."""


class EvalActor(ActorProcess):
    """Plays whole episodes; keeps its environments from one evaluation to the next."""

    def play(
        self, work: bytes, version: int, params: Sequence[Any], episodes: int, seed: int
    ) -> Played | Failure:
        """Plays episodes, which the seed decides, with a pickled `Work` and a reference."""
        import ray

        from reverie.actors.evaluate import evaluate
        from reverie.learner.policy import Params

        try:
            envs = self._envs or self._open(cloudpickle.loads(work), seed)
            self._policy.set_params(Params(version, ray.get(params[0])))
            result, records = evaluate(self._policy, envs, episodes, seed=seed)
            return result, records, envs.restarts
        except Exception as error:
            self.close()
            return Failure.of(error, self._printed.take())
