"""Programs that are the same are recognized without being traced, and others never mistaken."""

import builtins
import dataclasses
import os
import pathlib
import subprocess
import sys
import types

import jax
import pytest

from reverie.agent import Agent, actor_critic
from reverie.config import load
from reverie.learner import fingerprint as module
from reverie.learner.compiler_process import Job
from reverie.learner.fingerprint import fingerprint, name_of
from reverie.learner.programs import Programs
from reverie.nn import layers
from reverie.spaces import Space
from reverie.world import encoder

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


def test_equal_descriptions_have_equal_ones():
    config = load(["--configs", "debug"])
    one = Agent(config.agent, OBS, ACT, context=1)
    two = Agent(config.model_copy(deep=True).agent, dict(OBS), dict(ACT), context=1)
    assert fingerprint(one) == fingerprint(two)


def test_it_depends_on_the_text_of_the_code(monkeypatch, tmp_path):
    before = module._read_code()
    monkeypatch.setattr(module.importlib.metadata, "version", lambda _: "99")
    assert module._read_code() != before
    monkeypatch.undo()
    root = pathlib.Path(module.reverie.__file__).parent
    for source in root.rglob("*.py"):
        target = tmp_path / source.relative_to(root)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(source.read_bytes())
    monkeypatch.setattr(module.reverie, "__file__", str(tmp_path / "__init__.py"))
    assert module._read_code() == before
    changed = tmp_path / "agent" / "returns.py"
    changed.write_text(changed.read_text() + "\n")
    assert module._read_code() != before
    # What runs is the text as it was imported.
    assert fingerprint(make_agent()) is None
    (tmp_path / "spaces.py").unlink()
    assert module._read_code() is None


def test_it_covers_all_that_agents_are_made_of():
    code = "import sys, reverie.agent, reverie.learner.programs; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    used = {m.split(".")[1] for m in done.stdout.split() if m.startswith("reverie.")}
    assert "nn" in used
    assert used - {"api"} <= set(module.PACKAGES)


def replace_function(monkeypatch):
    monkeypatch.setattr(actor_critic, "imagined_return", lambda *_: 1.0)


def replace_method(monkeypatch):
    monkeypatch.setattr(layers.Linear, "__call__", lambda *_: 1.0)


def replace_entry(monkeypatch):
    monkeypatch.setitem(encoder.ENCODERS, "simple", Stranger)


@pytest.mark.parametrize("replace", [replace_function, replace_method, replace_entry])
def test_replaced_code_has_none(monkeypatch, replace):
    agent = make_agent()
    assert fingerprint(agent)
    replace(monkeypatch)
    assert fingerprint(agent) is None


def test_what_libraries_add_to_python_does_not_matter(monkeypatch):
    before = fingerprint(make_agent())
    monkeypatch.setattr(builtins, "LibraryError", Stranger, raising=False)
    assert fingerprint(make_agent()) == before is not None


class Stranger:
    """Nobody knows what else belongs to this code."""


@pytest.mark.parametrize("description", [Stranger(), Stranger, lambda: Stranger, pytest])
def test_code_of_somebody_else_has_none(description):
    assert fingerprint((make_agent(), description)) is None


@pytest.mark.parametrize("name", ["patch_encoder:PatchEncoder", "code:Encoder"])
def test_an_agent_that_names_code_of_somebody_else_has_none(name):
    assert fingerprint(make_agent("--agent.enc.typ", name)) is None


def test_what_cannot_be_pickled_has_none():
    assert fingerprint(x for x in ()) is None


def test_all_of_a_job_counts(batch, agent, placement):
    job = Job.of(Programs(make_agent(), placement), "train", batch)
    others = [{"kind": "report"}, {"batch": {}}, {"training": (5,)}, {"policy": 5}]
    others.append({"fast_compile": True})
    found = {fingerprint(dataclasses.replace(job, **other)) for other in [{}, *others]}
    assert len(found) == 6
    assert None not in found


def test_the_name_of_a_program_covers_what_its_text_does_not(batch, agent, placement, monkeypatch):
    def name(programs):
        return name_of(programs, "train", programs.lower("train", batch))

    programs = Programs(agent, placement)
    names = [name(programs), name(Programs(agent, placement, fast_compile=True))]
    monkeypatch.setattr(type(agent), "train", with_metric(type(agent).train, "other"))
    names.append(name(programs := Programs(agent, placement)))
    lowered = programs.lower("train", batch)
    with monkeypatch.context() as patch:
        patch.setenv("XLA_FLAGS", "--xla_cpu_enable_fast_math=true")
        names.append(name_of(programs, "train", lowered))
    with monkeypatch.context() as patch:
        patch.setattr(programs, "devices", lambda _: (types.SimpleNamespace(id=7),))
        names.append(name_of(programs, "train", lowered))
    jax.config.update("jax_disable_most_optimizations", True)
    try:
        names.append(name_of(programs, "train", lowered))
    finally:
        jax.config.update("jax_disable_most_optimizations", False)
    assert len(set(names)) == len(names)


def with_metric(train, name):
    """The same update with another name for the metric `draw`."""

    def renamed(*args):
        *results, metrics = train(*args)
        return *results, {name if key == "draw" else key: x for key, x in metrics.items()}

    return renamed
