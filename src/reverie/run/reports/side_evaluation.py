"""Evaluations of script parallel, beside training."""

import dataclasses
import time
from typing import Any

import cloudpickle
import jax
import ray
from ray import exceptions

from reverie.actors.cluster.chunk import ActorError, Failure
from reverie.actors.cluster.fleet import Fleet
from reverie.clocks import Every
from reverie.envs.vector.restarts import Restarts
from reverie.run.parts import build
from reverie.run.parts.parallel import work
from reverie.run.parts.state import Run
from reverie.run.reports.evaluation import log


class SideEvaluations:
    """Evaluations by actors of their own, while training goes on; a hook.

    Each is of `run.eval_eps` episodes with the parameters at its beginning, and is logged when it
    has ended. One that is under way at the end of the run is dropped. An actor that dies is started
    again as far as `run.env_max_restarts` allows.
    """

    def __init__(self, run: Run, fleet: Fleet):
        options = run.config.run
        source = dataclasses.replace(run.source, max_steps=options.eval_max_steps)
        count = min(options.eval_envs, options.eval_eps)
        self._idle = list(enumerate(fleet.evaluators))
        self._waiting: list[tuple[float, tuple[int, Any]]] = []
        self._restarts = Restarts.of(options, name="Evaluation actor {}", tell=run.logger.note)
        self._work = ray.put(cloudpickle.dumps(work(run, source, count)))
        self._playing: dict[Any, tuple[int, Any]] = {}
        self._start = Every(options.eval_every or -1.0, self._begin)

    def __call__(self, run: Run) -> None:
        """Begins what is due and logs what has ended."""
        now = time.monotonic()
        self._idle += [actor for due, actor in self._waiting if due <= now]
        self._waiting = [each for each in self._waiting if each[0] > now]
        self._start(run)
        if not self._playing:
            return
        for call in ray.wait(list(self._playing), timeout=0)[0]:
            index, actor = self._playing.pop(call)
            try:
                played = ray.get(call)
            except exceptions.RayError:
                died = f"The process of evaluation actor {index} has died or is out of reach."
                due = time.monotonic() + self._restarts.allow(index, ActorError(died))
                self._waiting.append((due, (index, actor)))
                continue
            self._idle.append((index, actor))
            if isinstance(played, Failure):
                raise played.error(f"Evaluation actor {index}")
            log(run.logger, *played)

    def _begin(self, run: Run) -> bool:
        """Starts an evaluation, if an actor is free."""
        if not self._idle or not run.learner or not run.updates:
            return False
        (index, actor), acting = self._idle.pop(0), run.learner.acting()
        params = [ray.put(jax.device_get(list(acting.leaves)))]
        seed = build.eval_seed(run.config.seed, run.progress.evaluations)
        run.progress.evaluations += 1
        episodes = run.config.run.eval_eps
        call = actor.play.remote(self._work, acting.version, params, episodes, seed)
        self._playing[call] = index, actor
        return True
