"""Programs that are the same are recognized without being traced, and others never mistaken."""

import os
import pathlib
import subprocess
import sys

import jax
import pytest

from reverie.agent import Agent
from reverie.config import load
from reverie.learner import fingerprint as module
from reverie.learner.fingerprint import fingerprint
from reverie.spaces import Space

EXAMPLES = pathlib.Path(__file__).parents[2] / "examples"
OBS = {"obs": Space("continuous", (3,), "float32")}
ACT = {"action": Space("discrete", (), "int32", (2,))}

SCRIPT = """
import sys
sys.path.insert(0, sys.argv[1])
from test_fingerprint import make_agent
from reverie.learner.fingerprint import fingerprint
print(fingerprint(make_agent("--agent.opt.lr", "0.0123")))
"""


def make_agent(*words, obs=OBS):
    config = load(["--configs", "debug", *words])
    return Agent(config.agent, obs, ACT, context=1)


def test_it_is_the_same_in_all_processes():
    found = set()
    for seed in "12":
        command = [sys.executable, "-c", SCRIPT, str(pathlib.Path(__file__).parent)]
        env = {**os.environ, "PYTHONHASHSEED": seed}
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=env, check=True)
        found.add(done.stdout.strip())
    assert len(found) == 1
    assert "None" not in found


def test_it_depends_on_all_that_a_program_depends_on(monkeypatch):
    found = [fingerprint(make_agent()), fingerprint(make_agent("--agent.opt.lr", "0.0123"))]
    found.append(fingerprint(make_agent(obs={"obs": Space("continuous", (4,), "float32")})))
    found.append(fingerprint((make_agent(), "train")))
    with monkeypatch.context() as patch:
        patch.setenv("XLA_FLAGS", "--xla_cpu_enable_fast_math=true")
        found.append(fingerprint(make_agent()))
    jax.config.update("jax_default_matmul_precision", "highest")
    try:
        found.append(fingerprint(make_agent()))
    finally:
        jax.config.update("jax_default_matmul_precision", None)
    assert len(set(found)) == len(found)
    assert None not in found
    assert fingerprint(make_agent()) == found[0]


def test_it_depends_on_the_code(monkeypatch, tmp_path):
    before = module._code.__wrapped__()
    monkeypatch.setattr(module.importlib.metadata, "version", lambda _: "99")
    assert module._code.__wrapped__() != before
    monkeypatch.undo()
    for package in module.PACKAGES:
        target = tmp_path / package
        source = pathlib.Path(module.reverie.__file__).parent / package
        target.write_bytes(source.read_bytes()) if source.is_file() else target.mkdir()
        for path in source.rglob("*.py"):
            target.joinpath(path.relative_to(source)).parent.mkdir(parents=True, exist_ok=True)
            target.joinpath(path.relative_to(source)).write_bytes(path.read_bytes())
    monkeypatch.setattr(module.reverie, "__file__", str(tmp_path / "__init__.py"))
    assert module._code.__wrapped__() == before
    changed = tmp_path / "agent" / "returns.py"
    changed.write_text(changed.read_text() + "\n")
    assert module._code.__wrapped__() != before


class Stranger:
    """Nobody knows what else belongs to this code."""


@pytest.mark.parametrize("description", [Stranger(), Stranger, lambda: Stranger, pytest])
def test_code_of_somebody_else_has_none(description):
    assert fingerprint((make_agent(), description)) is None


def test_an_agent_that_names_code_of_somebody_else_has_none(monkeypatch):
    monkeypatch.setattr(sys, "path", [str(EXAMPLES), *sys.path])
    agent = make_agent("--agent.enc.typ", "patch_encoder:PatchEncoder")
    assert fingerprint(agent) is None


def test_what_cannot_be_pickled_has_none():
    assert fingerprint(x for x in ()) is None
