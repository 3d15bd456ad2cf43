"""A device without memory is explained, and the checkpoint before it stays."""

import jax
import numpy as np
import pytest

from reverie.commands.explain import explain
from reverie.errors import Note
from reverie.learner.checkpoints.checkpoint import Checkpointer
from reverie.learner.compilation.compiler import Compiler
from reverie.run.planning.device_memory import DeviceMemoryError
from reverie.run.scripts import launch

SAID = "RESOURCE_EXHAUSTED: Out of memory while trying to allocate 12884901888 bytes."


def exhausted(compiled, consumes):
    """A program that finds no memory, after or before it has taken over its first argument."""

    class Program:
        memory_analysis = compiled.memory_analysis

        def __call__(self, state, *_):
            for leaf in jax.tree.leaves(state) if consumes else ():
                leaf.delete()
            raise jax.errors.JaxRuntimeError(SAID)

    return Program()


@pytest.fixture
def without_memory(monkeypatch):
    """Makes the programs of one kind fail."""
    compile = Compiler.compile

    def start(failing, consumes):
        def fail(self, program, batch):
            compiled = compile(self, program, batch)
            return exhausted(compiled, consumes) if program.name == failing else compiled

        monkeypatch.setattr(Compiler, "compile", fail)

    yield start
    monkeypatch.undo()


@pytest.mark.parametrize(("kind", "consumes"), [("train", True), ("report", False)])
def test_a_device_without_memory(copied, make_config, without_memory, monkeypatch, kind, consumes):
    words = ["--run.steps", "4000", "--run.report_every", "0.1"]
    checkpoints = Checkpointer(copied / "checkpoints")
    before = checkpoints.restore()
    without_memory(kind, consumes)
    with pytest.raises(DeviceMemoryError) as raised:
        launch(make_config(copied, *words))
    message = str(raised.value)
    assert "could not allocate 12884901888 bytes" in message
    assert f"{kind} 0.0 GB" in message
    for option in ("batch_size (now 2)", "batch_length (8)", "imag_last", "report_length (8)"):
        assert option in message
    after = checkpoints.restore()
    if consumes:  # The state is gone, so that the older checkpoint is the newest.
        assert after.step == before.step
        jax.tree.map(np.testing.assert_array_equal, after.arrays, before.arrays)
        assert "could not be saved" in raised.value.__notes__[0]
    else:
        assert after.step > before.step
    monkeypatch.undo()
    assert launch(make_config(copied, "--run.steps", str(after.step + 40))).updates > 0


@pytest.mark.parametrize("error", [DeviceMemoryError("no memory"), RuntimeError("no memory")])
def test_the_command_tells_the_error_before_the_save_that_failed(error):
    error.add_note(Note("After this the run could not be saved either."))
    message = explain(error) or ""
    assert 0 <= message.index("no memory") < message.index("could not be saved")


def test_notes_of_libraries_explain_nothing():
    error = RuntimeError("a mistake")
    error.add_note("For simplicity, JAX has removed its internal frames.")
    assert explain(error) is None
    error.add_note(Note("Environment 1 raised it."))
    message = explain(error) or ""
    assert "Environment 1" in message
    assert "JAX" not in message
