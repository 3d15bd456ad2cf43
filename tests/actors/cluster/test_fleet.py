"""What is wrong with Ray or its cluster is said in one line, at once."""

import os
import socket
import subprocess
import sys

import pytest

from reverie.actors.cluster.engine import address as where
from reverie.actors.cluster.engine import local
from reverie.actors.cluster.engine.package import ClusterError, import_ray
from reverie.actors.cluster.fleet import open_fleet
from reverie.config.load import load
from reverie.config.sections.parallel import RayConfig
from reverie.errors import ConfigError
from reverie.run.scripts import launch


def refused(**options):
    with pytest.raises(ClusterError) as caught, open_fleet(RayConfig(**options)):
        pass
    return str(caught.value)


def test_a_missing_or_old_ray_is_named(monkeypatch):
    monkeypatch.setattr(import_ray(), "__version__", "2.9.3")
    assert "Ray 2.60 or newer is needed, and ray 2.9.3 is installed: pip install" in refused()
    monkeypatch.setitem(sys.modules, "ray", None)
    assert refused() == "The package ray is needed: pip install -c constraints.txt -e '.[ray]'"


def test_an_address_without_a_cluster_is_refused_in_seconds(monkeypatch, tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # Nobody listens.
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        text = refused(address=address)
    assert f"ray.address is {address}, but {address} does not answer" in text
    assert "expected HOST:PORT, auto, or nothing" in refused(address="somewhere")
    assert "Ray's client cannot pass steps on" in refused(address="ray://host:10001")
    assert "ray.address is a..b:1, but a..b:1 does not answer" in refused(address="a..b:1")
    monkeypatch.setenv("RAY_ADDRESS", "ray://host:1")
    text = refused(address="auto")
    assert "auto, RAY_ADDRESS ray://host:1: Ray's client cannot" in text
    monkeypatch.delenv("RAY_ADDRESS")
    monkeypatch.setattr(where, "CURRENT", tmp_path / "none")
    assert "no Ray cluster runs on this machine: start one by `ray start" in refused(address="auto")


@pytest.mark.parametrize(
    ("address", "token", "mode"),
    [
        ("", False, "token"),
        ("auto", True, "token"),
        ("auto", False, "None"),
        ("10.0.0.1:6379", True, "None"),
    ],
)
def test_a_token_is_shown_to_a_ray_of_this_machine(address, token, mode, tmp_path):
    if token:
        (tmp_path / ".ray").mkdir()
        (tmp_path / ".ray" / "auth_token").write_text("0" * 64)
    code = (
        "import os; from reverie.actors.cluster.engine.package import import_ray; "
        f"import_ray({address!r}); print(os.environ.get('RAY_AUTH_MODE'))"
    )
    env = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    words = [sys.executable, "-c", code]
    env |= {"HOME": str(tmp_path), "RAY_ADDRESS": "auto"}  # As if it were not set.
    assert subprocess.check_output(words, env=env, text=True).strip() == mode


def test_a_container_without_shared_memory_is_refused(monkeypatch):
    monkeypatch.setattr(local, "LEAST_STORE", 1 << 60)
    assert "/dev/shm has" in refused()


def test_random_actions_and_own_collectors_are_not_for_parallel():
    with pytest.raises(ConfigError, match="script = parallel acts with an agent"):
        load(configs=["parallel"], overrides={"random_agent": True})

    class Collector:
        def collect(self):
            raise AssertionError

        set_params = close = collect

    with pytest.raises(ConfigError, match="leave collector out, or set script to train"):
        launch(load(configs=["parallel"]), collector=Collector())
