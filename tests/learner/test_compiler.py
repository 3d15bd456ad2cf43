"""Programs are compiled in threads, in order, and kept in JAX's own cache."""

import concurrent.futures
import subprocess
import sys
import threading
import time

import jax
import numpy as np
import pytest

from reverie.errors import ConfigError
from reverie.learner.compilation import compiler
from reverie.learner.compilation.programs import Program, specs
from reverie.learner.learner import Learner
from reverie.learner.policy import Policy


def test_programs_are_compiled_in_the_order_of_their_preparation(
    agent, placement, batch, obs, monkeypatch
):
    shared, kinds = compiler.Compiler(), []
    learner = Learner(agent, placement=placement, compiler=shared)
    learner._hand_out.result()  # Its own programs are there.
    policy = Policy(agent, learner.acting(), device=placement.policy, compiler=shared)
    lower = Program.lower
    monkeypatch.setattr(Program, "lower", lambda self, x: kinds.append(self.name) or lower(self, x))
    policy.prepare(2)
    learner.prepare("train", batch)
    policy.prepare(2, "eval")
    learner.update(batch)
    policy.act(policy.init(2), obs, "eval")
    assert kinds == ["act", "train", "evaluate"]


def test_what_cannot_run_without_compiling_says_so_at_once():
    with jax.disable_jit(), pytest.raises(ConfigError, match="JAX_DISABLE_JIT is set"):
        Program("update", lambda x: x, lambda x: (x,), "cpu")


def test_types_are_promoted_in_a_process_that_is_strict_with_its_own():
    placed = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    program = Program("sum", lambda x: (x > 0) + x, lambda x: (specs(x["x"], placed),), "cpu")
    before = jax.config.values["jax_numpy_dtype_promotion"]
    jax.config.update("jax_numpy_dtype_promotion", "strict")
    try:
        add = compiler.Compiler().get(program, {"x": np.zeros(2, np.int32)})
    finally:
        jax.config.update("jax_numpy_dtype_promotion", before)
    assert add(np.array([1, -1], np.int32)).tolist() == [2, -1]


@pytest.fixture
def slow(agent, monkeypatch):
    """An agent whose update is not traced before the event, and the event."""
    going_on, train = threading.Event(), agent.train

    def wait(*args):
        going_on.wait(300)
        return train(*args)

    monkeypatch.setattr(agent, "train", wait)
    yield agent, going_on
    going_on.set()


def test_one_can_look_whether_a_program_is_there(slow, placement, batch):
    agent, going_on = slow
    learner = Learner(agent, placement=placement)
    assert not learner.ready("train", batch)
    assert not learner.ready("train", batch)
    going_on.set()
    learner.wait("train", batch)
    assert learner.ready("train", batch)


def test_closing_waits_for_nothing_and_gives_up_what_is_next(slow, placement, batch):
    shared = compiler.Compiler()
    learner = Learner(slow[0], placement=placement, compiler=shared)
    learner.prepare("train", batch)
    learner.prepare("report", batch)
    before = time.monotonic()
    shared.close()
    assert time.monotonic() - before < 100
    slow[1].set()
    with pytest.raises(concurrent.futures.CancelledError):
        learner.wait("report", batch)


LEAVING = """
    import sys, threading
    from reverie.learner.compilation import compiler

    def compile():
        import jax, jax.numpy as jnp
        x = jnp.ones((8, 8))
        def slow(x):
            for i in range(300):
                x = jnp.sin(x @ x + i)
            return x
        lowered = jax.jit(slow).lower(x)
        started.set()
        lowered.compile()

    started = threading.Event()
    compiler.background(compile)
    started.wait()
    print("leaving", flush=True)
"""


@pytest.mark.parametrize(
    ("end", "code"),
    [("raise ValueError('mine')", 1), ("raise KeyboardInterrupt", 130), ("compiler.leave(7)", 7)],
)
def test_a_process_ends_while_it_compiles(end, code):
    lines = [line.removeprefix("    ") for line in LEAVING.splitlines()]
    command = [sys.executable, "-c", "\n".join([*lines, end])]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stderr
        assert process.stdout.readline() == b"leaving\n"
        before = time.monotonic()
        error = process.stderr.read().decode()
        assert process.wait(60) == code, error
        assert time.monotonic() - before < 60
    assert "terminate" not in error
    assert "Fatal" not in error


def test_an_ordinary_end_waits_for_the_compiler_and_keeps_its_code():
    script = (
        "import sys, time; from reverie.learner.compilation import compiler; "
        "compiler.background(lambda: (time.sleep(1), print('done', flush=True))); sys.exit(3)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 3, done.stderr
    assert done.stdout == "done\n"
