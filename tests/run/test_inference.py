"""Whole runs whose actors ask a server for their actions (`ray.inference: server`)."""

import contextlib
import sys
import time

import cloudpickle
import psutil
import pytest
import ray
from counting import Counter, until
from local_ray import ray_address  # noqa: F401
from ray_nodes import cmdline

import reverie
from reverie.actors.cluster.fleet import INFERENCE
from reverie.replay.files import format
from reverie.track.sinks.jsonl import read_jsonl

# Actors have no such module.
cloudpickle.register_pickle_by_value(sys.modules[__name__])


@pytest.fixture
def train(tmp_path, cache, ray_address):  # noqa: F811
    def start(sinks=(), callbacks=(), **options):
        given = {"run.save_every": 0, "run.report_every": 0, "logger.outputs": ["jsonl"]}
        given |= {"jax.cache_dir": cache, "ray.chunk": 8, "logdir": tmp_path / "run"}
        given |= {"ray.inference": "server", "run.steps": 100_000, **options}
        configs = ["debug", "parallel"]
        return reverie.train(Counter, configs, sinks=sinks, callbacks=callbacks, **given)

    return start


def check_every_step_is_there_once(folder, outcome):
    streams = {}
    for path in sorted((folder / "replay").glob("*.chunk")):
        about, steps = format.read(path)
        streams.setdefault(about["stream"], []).extend(steps["obs"][:, 0].tolist())
    for times in streams.values():
        assert times == [step % 11 for step in range(len(times))]
    assert sum(map(len, streams.values())) == outcome.steps
    # None before the first batch of 2 sequences of 8 + 1 steps, then one for every two.
    assert abs(outcome.updates - (outcome.steps - 18) / 2) <= 8
    return streams


def wait_for_the_next_one():
    """Until Ray has replaced the server, which can be before the learner looks at it again."""
    (name,) = [x for x in ray.util.list_named_actors(all_namespaces=True) if x["name"] == INFERENCE]
    server = ray.get_actor(**name)
    while True:
        with contextlib.suppress(ray.exceptions.RayActorError):
            ray.get(server.counts.remote(""))
            return
        time.sleep(0.1)


def test_actors_act_through_a_server_and_lose_no_step_when_it_is_killed(train, tmp_path, notes):
    killed = []

    def kill(run):
        if not killed and run.steps >= 160:
            alive = psutil.Process().children(recursive=True)
            (server,) = [x for x in alive if "InferenceServer" in cmdline(x)]
            server.kill()
            killed.append(run.steps)
            wait_for_the_next_one()
            notes.metrics.pop("actors/batch", None)

    def enough(run):
        # An actor that has started may have given no steps yet.
        working = sum(number >= 0 for _, number, _ in run.collector.counters.values())
        # The learner looks at the server once a second: a faster run has not seen it work.
        seen = working == 2 and "actors/batch" in notes.metrics
        return killed and run.steps >= killed[0] + 320 and seen

    options = {"run.env_max_restarts": 1, "run.log_every": 0.5, "ray.push_every": 2}
    outcome = train([notes], [kill, until(enough)], **options)
    records = notes.metrics
    streams = check_every_step_is_there_once(tmp_path / "run", outcome)
    assert outcome.steps >= killed[0] + 320
    assert len(streams) == 2 * records["actors/running"]  # All environments have gone on.
    assert records["actors/restarts"] == 0
    (text,) = [text for text in notes.texts if "inference server has died" in text]
    assert "It is restarted, number 1 of at most 1 restarts" in text
    assert 1 <= records["actors/batch"] <= 2
    # A chunk of 16 steps is worth 8 updates; two of each actor may wait with old ones. More than
    # that is one of an actor that has stood still while the other one went on.
    lags = [x["actors/lag"] for x in read_jsonl(tmp_path / "run" / "metrics.jsonl")
            if x["step"] > killed[0] + 160 and "actors/lag" in x]  # fmt: skip
    assert min(lags) <= 8 * 2 * 2 + 8
    assert records["epstats/log/has_jax/max"] == 0
