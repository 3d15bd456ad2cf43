"""The inference server as the learner sees it, with a stand-in for Ray."""

import types

import pytest
from ray import exceptions

from reverie.actors.cluster.chunk import ActorError
from reverie.actors.cluster.inference import supervisor as module
from reverie.actors.cluster.inference.supervisor import Inference
from reverie.envs.vector.restarts import Restarts


@pytest.fixture
def make(monkeypatch):
    """Makes one around a server that answers at once; returns it, and what was killed."""
    killed = []

    def get(call):
        if isinstance(call, Exception):
            raise call
        return None if call == "started" else call

    ray = types.SimpleNamespace(
        put=lambda x: x,
        get=get,
        wait=lambda calls, timeout: ([] if calls == ["never"] else calls, []),
        kill=lambda server, no_restart: killed.append(server),
    )
    monkeypatch.setattr(module, "ray", ray)
    monkeypatch.setattr(module, "SECONDS", 0.0)

    def make(busy, told, timeout=10.0, answer="started"):
        def remote(answer):
            return types.SimpleNamespace(remote=lambda *args: answer)

        server = types.SimpleNamespace(
            start=remote(answer), take=remote(None), counts=remote((3, 6, busy))
        )
        server.__ray_ready__ = remote(True)
        restarts = Restarts(1, 3600, name="It", tell=told.append)
        how = {"session": "one", "seed": 0, "timeout": timeout, "restarts": restarts}
        inference = Inference(server, b"", **how)
        inference.set_params(0, [])
        for _ in range(4):  # It is asked whether it is there, and to start, and answers.
            inference.look()
        return inference

    return make, killed


@pytest.mark.parametrize(("busy", "timeout", "hangs"), [(9, 10, 0), (11, 10, 1), (99, 0, 0)])
def test_a_server_that_is_at_one_batch_for_too_long_is_killed(make, busy, timeout, hangs):
    make, killed = make
    told = []
    inference = make(busy, told, timeout)
    assert inference.running
    for _ in range(2):
        inference.look()
    assert len(killed) == hangs
    assert inference.running is not bool(hangs)
    assert ("gave no answer for 10 seconds and was killed" in "".join(told)) is bool(hangs)
    assert inference.metrics() == {"actors/batch": 2.0}


def test_a_server_that_never_starts_is_killed(make):
    make, killed = make
    told = []
    inference = make(0, told, timeout=1e-9, answer="never")
    assert not inference.running
    assert len(killed) == 1
    assert "gave no answer for 1e-09 seconds and was killed (run.env_timeout)" in told[0]


def test_a_server_that_dies_whenever_it_starts_ends_the_run(make, monkeypatch):
    make, _ = make
    clock = types.SimpleNamespace(monotonic=iter(range(10**9)).__next__)
    monkeypatch.setattr(module, "time", clock)
    dead, told = exceptions.ActorUnavailableError("", b"1" * 16), []
    inference = make(0, told, 1e9, dead)
    with pytest.raises(ActorError, match="The process of the inference server has died"):
        all(inference.look() is None for _ in range(100))
    assert "It is restarted, number 1 of at most 1 restarts" in told[0]


def test_a_server_is_not_blamed_for_a_learner_that_stood_still(make, monkeypatch):
    make, killed = make
    now, there = [0.0], []
    monkeypatch.setattr(module, "time", types.SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(module.ray, "wait", lambda calls, timeout: (calls if there else [], []))
    inference = make(0, [], answer="started")
    now[0] = 1000.0  # Nor has Ray taken in an answer meanwhile.
    inference.look()
    there.append(True)
    inference.look()
    assert killed == []
    there.clear()
    for _ in range(13):
        now[0] += 1.0
        inference.look()
    assert len(killed) == 1
