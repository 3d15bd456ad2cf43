"""Whole runs of script parallel in a local Ray, with the smallest agent."""

import os
import signal
import sys
import time

import cloudpickle
import psutil
import pytest
from counting import Counter, until

import reverie
from reverie.actors.cluster.engine.local import local_ray
from reverie.actors.cluster.engine.nodes import check_nodes
from reverie.actors.cluster.engine.package import ClusterError, import_ray
from reverie.track.sinks.jsonl import read_jsonl

# Actors have no such module, as they have none of a notebook.
cloudpickle.register_pickle_by_value(sys.modules[__name__])


@pytest.fixture(scope="module", autouse=True)
def server():
    """Of which the processes of one Ray descend that all runs here use and leave alone."""
    ray = import_ray()
    with local_ray() as (address, _):
        ray.init(address=address, configure_logging=False, log_to_driver=False)
        yield psutil.Process()
        ray.shutdown()


@pytest.fixture
def train(tmp_path, cache):
    """Trains in this process with two actors; options are dotted keys."""

    def start(env=Counter, sinks=(), callbacks=(), **options):
        given = {"run.save_every": 0, "run.report_every": 0, "logger.outputs": ["jsonl"]}
        given |= {"jax.cache_dir": cache, "logdir": tmp_path / "run", **options}
        given |= {} if "script" in options else {"ray.chunk": 8}
        return reverie.train(env, ["debug", "parallel"], sinks=sinks, callbacks=callbacks, **given)

    return start


def working(run):
    """How many actors have given steps: those that have started may have none in replay yet."""
    return sum(number >= 0 for _, number, _ in run.collector.counters.values())


def check_counts(outcome, replayed):
    """Every step was counted once, and every two steps were worth an update."""
    assert replayed == outcome.steps
    # None before the first batch of 2 sequences of 8 + 1 steps.
    assert abs(outcome.updates - (outcome.steps - 18) / 2) <= 8


def test_a_run_has_ratio_and_records_as_in_one_process_and_evaluations(train, tmp_path, notes):
    scores = tmp_path / "run" / "scores.jsonl"

    def enough(run):
        evaluated = "eval/episode/score" in scores.read_text()
        return run.steps >= 200 and working(run) == 2 and evaluated

    options = {"ray.eval_actors": 1, "run.eval_every": 0.01, "run.eval_eps": 3}
    outcome = train(sinks=[notes], callbacks=[until(enough)], **{"run.steps": 100_000, **options})
    records = read_jsonl(tmp_path / "run" / "metrics.jsonl")[-1]
    check_counts(outcome, records["replay/inserts"])
    assert records["replay/streams"] == 2 * records["actors/running"]
    assert records["actors/restarts"] == 0
    kinds = [{k for k in record if k.endswith("score")} for record in read_jsonl(scores)]
    assert {"episode/score"} in kinds
    assert kinds.count({"eval/episode/score"}) % 3 == 0
    assert {x for record in read_jsonl(scores) for k, x in record.items() if "score" in k} == {10}
    assert any("Each actor has 2 environments, backend sync" in text for text in notes.texts)


def test_an_actor_that_is_killed_is_replaced_and_its_streams_end(train, tmp_path, server, notes):
    before, killed = {}, []

    def kill(run):
        known = run.collector.counters
        if not killed and len(known) == 2 and all(number > 1 for _, number, _ in known.values()):
            before.update(known)
            actors = [x for x in server.children(recursive=True) if "EnvActor" in x.name()]
            killed.append(actors[0].pid)
            actors[0].kill()

    def replaced(run):
        return len({x[0] for x in before.values()} & {x[0] for x in now(run)}) == 1

    def now(run):
        return [x for x in run.collector.counters.values() if x[1] > 1]

    done = until(lambda run: killed and len(now(run)) == 2 and replaced(run))
    options = {"run.steps": 100_000, "run.env_max_restarts": 1, "replay.size": 1e5}
    outcome = train(sinks=[notes], callbacks=[kill, done], **options)
    records = read_jsonl(tmp_path / "run" / "metrics.jsonl")[-1]
    check_counts(outcome, records["replay/inserts"])
    assert (records["actors/running"], records["actors/restarts"]) == (2, 1)
    assert records["replay/streams"] == 4  # And not 6: those of the dead one have ended.
    (text,) = [text for text in notes.texts if "died" in text]
    assert "is restarted, number 1 of at most 1 restarts in 3600 seconds." in text


class Hanging(Counter):
    """The first one that gets to its fifth step never comes back."""

    mark = None

    def step(self, action):
        if self.time == 5 and not self.mark.exists():
            self.mark.touch()
            time.sleep(1000)
        return super().step(action)


def test_a_signal_while_ray_waits_ends_the_run_in_order(train, monkeypatch):
    ray, calls = import_ray(), []
    wait = ray.wait

    def interrupted(*args, **options):
        calls.append(args)
        if len(calls) == 20:
            # Ray asks Python for signals, and raises this in the place of what a handler raises.
            try:
                os.kill(os.getpid(), signal.SIGTERM)
            except KeyboardInterrupt:
                raise KeyboardInterrupt from None
        return wait(*args, **options)

    monkeypatch.setattr(ray, "wait", interrupted)
    with pytest.raises(SystemExit) as ended:
        train(**{"run.steps": 100_000})
    assert ended.value.code == 128 + signal.SIGTERM


class Hurried:
    """A clock that gains a second with every look while an actor hangs."""

    def __init__(self, hangs):
        self.hangs, self.ahead, self.sleep = hangs, 0.0, time.sleep

    def monotonic(self):
        self.ahead += self.hangs()
        return time.monotonic() + self.ahead


def test_an_actor_that_hangs_is_killed_and_replaced(train, tmp_path, notes, monkeypatch):
    mark = tmp_path / "hangs"
    hurried = Hurried(lambda: mark.exists() and not any("killed" in x for x in notes.texts))
    monkeypatch.setattr("reverie.actors.cluster.collector.time", hurried)
    monkeypatch.setattr("reverie.actors.cluster.collector.TICK", 0.01)
    monkeypatch.setattr(Hanging, "mark", mark)
    options = {"run.steps": 160, "run.env_max_restarts": 1, "run.env_timeout": 60, "ray.actors": 1}
    outcome = train(Hanging, [notes], **options)
    check_counts(outcome, read_jsonl(tmp_path / "run" / "metrics.jsonl")[-1]["replay/inserts"])
    (text,) = [text for text in notes.texts if "gave no steps" in text]
    assert "was killed (run.env_timeout). Actor" in text


class Breaking(Counter):
    """Breaks at its fifth step."""

    def step(self, action):
        if self.time == 5:
            raise ZeroDivisionError("the wheel came off")
        return super().step(action)


def test_what_an_environment_raises_ends_the_run_as_in_one_process(train):
    with pytest.raises(ZeroDivisionError, match="the wheel came off") as caught:
        train(Breaking, **{"ray.actors": 1})
    assert "raised ZeroDivisionError: the wheel came off" in caught.value.__notes__[0]


def test_one_process_and_several_can_go_on_with_the_run_of_the_other(train, tmp_path):
    first = train(**{"run.steps": 40, "script": "train"})
    second = train(**{"run.steps": 120, "ray.actors": 1})
    third = train(**{"run.steps": second.steps + 40, "script": "train"})
    assert first.steps == 40
    assert second.steps == 40 + 5 * 16
    assert third.steps == second.steps + 40
    records = read_jsonl(tmp_path / "run" / "metrics.jsonl")[-1]
    check_counts(third, records["replay/inserts"])
    assert records["replay/streams"] == 2  # Those of the actors have ended.


def test_nodes_with_another_version_are_refused(monkeypatch):
    check_nodes(import_ray())
    monkeypatch.setattr(reverie, "__version__", "9.9")
    with pytest.raises(ClusterError, match=r"has Python 3.* and reverie 0.*, here are .* 9.9"):
        check_nodes(import_ray())
