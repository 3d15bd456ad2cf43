"""Environment processes that fail, and processes that must not stay behind."""

import ctypes
import errno
import io
import os
import signal
import subprocess
import sys
import time

import cloudpickle
import gymnasium
import numpy as np
import pytest
from gymnasium import spaces as gs
from rich.console import Console
from rich.file_proxy import FileProxy

from reverie.envs.errors import WorkerError
from reverie.envs.vector import processes
from reverie.envs.vector.restarts import Restarts
from reverie.envs.vector.vector import VectorEnv

cloudpickle.register_pickle_by_value(sys.modules[__name__])


class Fragile(gymnasium.Env):
    """Does what the action says: 0 nothing, 1 raise, 2 end the process, 3 hang, 4 segfault."""

    observation_space = gs.Box(-np.inf, np.inf, (2,), np.float64)
    action_space = gs.Discrete(5)

    def reset(self, *, seed=None, options=None):
        return np.array([os.getpid(), "jax" in sys.modules], np.float64), {}

    def step(self, action):
        if action == 1:
            raise ZeroDivisionError("the wheel came off")
        if action == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        if action == 3:
            # Holds the interpreter's lock, so no Python code of this process can react.
            ctypes.PyDLL(None).sleep(1000)
        if action == 4:
            ctypes.string_at(0)
        return np.zeros(2), 0.0, False, False, {}


def alive(pid):
    """Whether a process runs (zombies do not)."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):  # Also between open and read.
        return False


def parent(pid):
    with open(f"/proc/{pid}/stat") as file:
        return int(file.read().rpartition(")")[2].split()[1])


LONG = 300.0
"""Seconds; more than any answer takes."""

SOON = 60.0
"""Seconds; far less than what hangs would take, and more than a busy machine stands still."""


def wait_until_gone(pids, seconds=SOON):
    deadline = time.monotonic() + seconds
    while any(map(alive, pids)) and time.monotonic() < deadline:
        time.sleep(0.02)
    return [pid for pid in pids if alive(pid)]


@pytest.fixture
def vector():
    with VectorEnv([Fragile] * 2, "async", seeds=0, timeout=LONG) as made:
        yield made


def act(vector, *actions):
    return vector.step({"action": np.array(actions, np.int32)})


def test_workers_are_processes_of_their_own_without_jax(vector):
    obs = vector.reset()["obs"]
    assert len({os.getpid(), *obs[:, 0].astype(int)}) == 3
    assert obs[:, 1].tolist() == [0, 0]


def test_an_exception_arrives_with_its_own_traceback(vector):
    vector.reset()
    with pytest.raises(WorkerError) as error:
        act(vector, 0, 1)
    assert error.value.index == 1
    assert error.value.reason == "raised"
    assert "Environment 1 raised ZeroDivisionError: the wheel came off" in str(error.value)
    assert 'raise ZeroDivisionError("the wheel came off")' in error.value.trace
    assert "test_envs_workers.py" in str(error.value)


def test_an_environment_that_ends_its_program_says_where(capfd):
    class Windowed(Fragile):
        def step(self, action):
            sys.exit("the window was closed")

    with VectorEnv([Windowed], "async", seeds=0, timeout=LONG) as vector:
        vector.reset()
        with pytest.raises(WorkerError, match="SystemExit: the window was closed") as error:
            act(vector, 0)
    assert error.value.reason == "raised"
    assert "At step 1 of its episode, in test_envs_workers.py, line" in str(error.value)
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.parametrize(("action", "name"), [(2, "SIGKILL"), (4, "SIGSEGV")])
def test_a_dead_process_is_named_with_its_signal(vector, action, name):
    vector.reset()
    with pytest.raises(WorkerError, match=f"environment 0 died with signal {name}") as error:
        act(vector, action, 0)
    assert (error.value.index, error.value.reason) == (0, "died")


def test_a_process_that_hangs_is_killed():
    with VectorEnv([Fragile] * 2, "async", seeds=0, timeout=1.0) as vector:
        pids = vector.reset()["obs"][:, 0].astype(int)
        start = time.monotonic()
        with pytest.raises(WorkerError, match="did not answer within 1 seconds") as error:
            act(vector, 3, 0)
        assert error.value.reason == "hung"
        assert time.monotonic() - start < SOON
        assert wait_until_gone(pids[:1]) == []
        assert alive(pids[1])


def test_a_process_that_is_stopped_while_it_answers_is_killed():
    class Large(Fragile):
        observation_space = gs.Box(-np.inf, np.inf, (1 << 20,), np.float64)

        def reset(self, *, seed=None, options=None):
            return np.full(1 << 20, float(os.getpid())), {}

        def step(self, action):
            return np.zeros(1 << 20), 0.0, False, False, {}

    with VectorEnv([Large] * 2, "async", seeds=0, timeout=1.0) as vector:
        pids = vector.reset()["obs"][:, 0].astype(int)
        vector.step_async({"action": np.zeros(2, np.int32)})
        time.sleep(0.5)  # It waits until the first part of its answer is read.
        os.kill(pids[0], signal.SIGSTOP)
        start = time.monotonic()
        with pytest.raises(WorkerError, match="did not answer within 1 seconds") as error:
            vector.step_wait()
        assert (error.value.index, error.value.reason) == (0, "hung")
        assert time.monotonic() - start < SOON
        assert wait_until_gone(pids[:1]) == []


def test_a_process_killed_between_steps_is_noticed(vector):
    pids = vector.reset()["obs"][:, 0].astype(int)
    os.kill(pids[1], signal.SIGKILL)
    assert wait_until_gone(pids[1:]) == []
    with pytest.raises(WorkerError, match="environment 1 died"):
        act(vector, 0, 0)


def test_a_server_that_an_environment_has_left_behind_does_not_hide_its_death(tmp_path):
    def serving():
        class Serving(Fragile):
            def step(self, action):
                # As daemons of simulators are, which shells or C++ have started.
                words = ["sleep", "1000"]
                server = subprocess.Popen(words, start_new_session=True, close_fds=False)
                (tmp_path / "server").write_text(str(server.pid))
                os.kill(os.getpid(), signal.SIGKILL)

        return Serving()

    with VectorEnv([serving], "async", seeds=0, timeout=LONG) as vector:
        vector.reset()
        with pytest.raises(WorkerError) as error:
            act(vector, 0)
        os.kill(int((tmp_path / "server").read_text()), signal.SIGKILL)
        assert error.value.reason == "died"


def test_a_path_object_among_the_folders_of_modules_is_no_obstacle(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "path", [*sys.path, tmp_path])
    with VectorEnv([Fragile], "async") as vector:
        vector.reset()


def test_errors_while_building_arrive_too():
    def broken():
        raise LookupError("no such level")

    with pytest.raises(WorkerError, match="raised LookupError: no such level"):
        VectorEnv([Fragile, broken], "async")


def test_close_ends_the_processes_and_closes_the_environments(tmp_path):
    class Closing(Fragile):
        def close(self):
            (tmp_path / str(os.getpid())).touch()

    vector = VectorEnv([Closing] * 2, "async", seeds=0)
    pids = vector.reset()["obs"][:, 0].astype(int)
    vector.close()
    vector.close()
    assert wait_until_gone(pids) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(map(str, pids))


def test_close_in_the_middle_of_a_step():
    vector = VectorEnv([Fragile] * 2, "async", seeds=0)
    pids = vector.reset()["obs"][:, 0].astype(int)
    vector.step_async({"action": np.zeros(2, np.int32)})
    vector.close()
    assert wait_until_gone(pids) == []


SCRIPT = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # Shells ignore it in the background.
sys.path.insert(0, {folder!r})
import numpy as np
from test_envs_workers import Fragile
from reverie.envs.vector.vector import VectorEnv
vector = VectorEnv([Fragile] * 2, "async", seeds=0)
print(*vector.reset()["obs"][:, 0].astype(int), flush=True)
how = sys.argv[1]
if how == "return":
    sys.exit()
if how == "raise":
    raise SystemExit(3)
vector.step_async({{"action": np.array([3, 0], np.int32)}})
vector.step_wait()
"""


@pytest.mark.parametrize(
    ("how", "number"),
    [
        ("return", None),
        ("raise", None),
        ("hang", signal.SIGTERM),
        ("hang", signal.SIGINT),
        ("hang", signal.SIGKILL),
    ],
)
def test_no_process_outlives_the_trainer(how, number):
    """Also when an environment hangs in native code at that moment."""
    script = SCRIPT.format(folder=os.path.dirname(__file__))
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    trainer = subprocess.Popen(
        [sys.executable, "-c", script, how],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=env,
    )
    with trainer:
        pids = [int(word) for word in trainer.stdout.readline().split()]
        assert len(pids) == 2
        if number:
            assert all(map(alive, pids))
            time.sleep(0.2)
            trainer.send_signal(number)
        trainer.wait(200)
    assert wait_until_gone(pids) == []


RESTARTING = """
import os, signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.path.insert(0, {folder!r})
import numpy as np
from test_envs_workers import Fragile
from reverie.envs.vector.restarts import Restarts
from reverie.envs.vector.vector import VectorEnv
how = sys.argv[1]
def factory():
    if how == "rebuild" and os.path.exists({marker!r}):
        print(os.getpid(), flush=True)
        time.sleep(1000)
    return Fragile()
vector = VectorEnv([factory] * 2, "async", seeds=0, restarts=Restarts(10))
print(*vector.reset()["obs"][:, 0].astype(int), flush=True)
open({marker!r}, "w").close()
for _ in range(10):
    vector.step({{"action": np.array([2, 0], np.int32)}})
    print(*(each.pid for each in vector._inner._envs), flush=True)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
@pytest.mark.parametrize("how", ["rebuild", "backoff"])
def test_no_process_outlives_a_trainer_that_restarts_one(how, number, tmp_path):
    """Neither while an environment is built anew, nor while the restart has to wait."""
    marker = str(tmp_path / "built")
    script = RESTARTING.format(folder=os.path.dirname(__file__), marker=marker)
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    trainer = subprocess.Popen(
        [sys.executable, "-c", script, how],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=env,
    )
    with trainer:
        pids = {int(word) for word in trainer.stdout.readline().split()}
        # The process that is being built, or those after the second restart, before the third.
        for _ in range(1 if how == "rebuild" else 2):
            pids |= {int(word) for word in trainer.stdout.readline().split()}
        time.sleep(0.3)
        assert trainer.poll() is None
        trainer.send_signal(number)
        trainer.wait(200)
    assert len(pids) == (3 if how == "rebuild" else 4)
    assert wait_until_gone(pids) == []


def test_what_an_environment_has_started_ends_with_it(tmp_path):
    """A simulator of its own, for example: also when the environment is killed."""

    class Simulator(Fragile):
        def __init__(self):
            self.process = subprocess.Popen(["sleep", "1000"])
            (tmp_path / str(self.process.pid)).touch()

    with VectorEnv([Simulator], "async", seeds=0, restarts=Restarts(2)) as vector:
        vector.reset()
        (first,) = (int(path.name) for path in tmp_path.iterdir())
        assert alive(first)
        act(vector, 2)
        assert wait_until_gone([first]) == []
        started = [int(path.name) for path in tmp_path.iterdir()]
        assert len(started) == 2
    assert wait_until_gone(started) == []


def test_without_the_nursery_nothing_is_restarted():
    with VectorEnv([Fragile], "async", seeds=0, restarts=Restarts(2)) as vector:
        pids = vector.reset()["obs"][:, 0].astype(int)
        os.kill(parent(pids[0]), signal.SIGKILL)
        assert wait_until_gone(pids) == []
        with pytest.raises(RuntimeError, match=r"starts .* workers ended with .* SIGKILL"):
            act(vector, 0)


def test_signals_to_all_processes_leave_the_nursery_to_the_trainer(vector):
    """Schedulers send SIGTERM to everybody: workers end, and the trainer can save and close."""
    pids = vector.reset()["obs"][:, 0].astype(int)
    nursery = parent(pids[0])
    for pid in (nursery, *pids):
        os.kill(pid, signal.SIGTERM)
    assert wait_until_gone(pids) == []
    assert alive(nursery)
    with pytest.raises(WorkerError, match="environment 0 died with signal SIGTERM"):
        act(vector, 0, 0)
    vector.close()
    assert wait_until_gone([nursery]) == []


def test_ctrl_c_in_the_terminal_reaches_the_trainer_alone(vector):
    pids = vector.reset()["obs"][:, 0].astype(int)
    assert all(os.getpgid(pid) != os.getpgid(0) for pid in pids)
    act(vector, 0, 0)


class Talking(Fragile):
    def reset(self, *, seed=None, options=None):
        print("printed [in] a worker")
        os.write(2, b"written to its errors\n")
        return super().reset()


@pytest.mark.parametrize("terminal", [True, False], ids=["terminal", "errors in a file"])
def test_what_workers_print_stands_above_a_board_on_a_terminal(monkeypatch, terminal):
    file = io.StringIO()
    monkeypatch.setattr(sys, "stdout", FileProxy(Console(file=file), sys.stdout))
    monkeypatch.setattr(os, "isatty", lambda number: terminal)
    lines = ["printed [in] a worker", *["written to its errors"] * terminal]
    with VectorEnv([Talking], "async", seeds=0) as vector:
        vector.reset()
    deadline = time.monotonic() + 100
    while file.getvalue().count("\n") < len(lines) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert sorted(file.getvalue().splitlines()) == lines


def test_what_workers_print_is_read_although_nobody_can_see_it(monkeypatch):
    class Gone(io.StringIO):
        def write(self, text):
            seen.append(text)
            raise OSError(errno.EIO, "the terminal is closed")

    seen = []
    monkeypatch.setattr(sys, "stdout", Gone())
    processes._print_all(io.BytesIO(b"one\ntwo\n"))
    assert seen == ["one", "two"]
