"""A Ray of one run, with a stand-in for Ray: how long it stays."""

import json
import subprocess
import sys

import pytest

from reverie.actors.cluster.engine.local import LEARNER, SERVE, kept_up

RAY = """
import types
init = lambda **options: types.SimpleNamespace(address_info={"session_dir": options["_temp_dir"]})
get_runtime_context = lambda: types.SimpleNamespace(gcs_address="here")
shutdown = lambda: None
"""


def test_it_ends_after_the_learner_although_who_started_it_is_gone(tmp_path):
    (tmp_path / "ray.py").write_text(RAY)
    session = tmp_path / "session"
    session.mkdir()
    with subprocess.Popen(
        [sys.executable, "-c", SERVE, json.dumps({"_temp_dir": str(session)}), LEARNER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=tmp_path,
    ) as server:
        assert server.stdout.readline() == b"here\n"
        with kept_up(str(session)):
            server.stdin.close()
            with pytest.raises(subprocess.TimeoutExpired):
                server.wait(timeout=0.5)
            assert session.exists()
        assert server.wait(timeout=200) == 0
    assert not session.exists()
