"""Evaluations beside training: what becomes of actors that die, without any Ray."""

import dataclasses
import types

import pytest
from ray import exceptions

from reverie.actors.cluster.chunk import ActorError, Failure
from reverie.config.load import load
from reverie.run.reports import side_evaluation
from reverie.run.reports.side_evaluation import SideEvaluations


@dataclasses.dataclass(eq=False)
class Call:
    result: object


@dataclasses.dataclass(frozen=True)
class Source:
    max_steps: int = 0


class Actor:
    """Its evaluations end at once, as the next of its results says."""

    def __init__(self, *results):
        self.results, self.played = list(results), 0
        self.play = types.SimpleNamespace(remote=self._play)

    def _play(self, *args):
        self.played += 1
        return Call(self.results.pop(0))


def get(call):
    if isinstance(call.result, Exception):
        raise call.result
    return call.result


@pytest.fixture
def evaluate(monkeypatch, notes):
    """Looks so many times after evaluations of an actor, with one restart allowed."""
    fake = types.SimpleNamespace(put=lambda x: x, wait=lambda calls, timeout: (calls, []), get=get)
    monkeypatch.setattr(side_evaluation, "ray", fake)
    monkeypatch.setattr(side_evaluation, "work", lambda *args: None)
    monkeypatch.setattr(side_evaluation, "log", lambda logger, result: notes.texts.append(result))
    learner = types.SimpleNamespace(acting=lambda: types.SimpleNamespace(version=1, leaves=[]))
    run = types.SimpleNamespace(
        config=load(["--run.env_max_restarts", "1", "--run.eval_every", "1e-9"]),
        source=Source(),
        logger=types.SimpleNamespace(note=notes.texts.append),
        learner=learner,
        updates=1,
        progress=types.SimpleNamespace(evaluations=0),
    )

    def look(actor, times):
        side = SideEvaluations(run, types.SimpleNamespace(evaluators=(actor,)))
        for _ in range(times):
            side(run)
        return notes.texts

    return look


def test_one_that_dies_is_restarted_as_often_as_it_may(evaluate):
    actor = Actor(exceptions.RayActorError(), ("one",), exceptions.RayActorError())
    with pytest.raises(ActorError, match="The process of evaluation actor 0 has died"):
        evaluate(actor, 9)
    assert actor.played == 3


def test_the_user_is_told_which_one_is_restarted(evaluate):
    told, played = evaluate(Actor(exceptions.RayActorError(), ("one",)), 2)
    assert "Evaluation actor 0 is restarted, number 1 of at most 1 restarts" in told
    assert played == "one"


def test_what_it_raises_has_its_name(evaluate):
    with pytest.raises(ActorError, match="Evaluation actor 0 raised Odd: no"):
        evaluate(Actor(Failure(b"", "Odd: no", "")), 1)
