"""The inference server as the learner sees it, with a stand-in for Ray."""

import types

import pytest

from reverie.actors.cluster.inference import supervisor as module
from reverie.actors.cluster.inference.supervisor import Inference
from reverie.envs.vector.restarts import Restarts


@pytest.fixture
def make(monkeypatch):
    """Makes one around a server that answers at once; returns it, and what was killed."""
    killed = []
    ray = types.SimpleNamespace(
        put=lambda x: x,
        get=lambda x: None if x == "started" else x,
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
        restarts = Restarts(1, 3600, name="It", tell=told.append)
        how = {"session": "one", "seed": 0, "timeout": timeout, "restarts": restarts}
        inference = Inference(server, b"", **how)
        inference.set_params(0, [])
        for _ in range(2):  # It is asked to start, and answers.
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
