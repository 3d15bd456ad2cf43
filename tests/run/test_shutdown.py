"""Signals as requests."""

import gc
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
import types

import pytest

from reverie.run.parts import shutdown as module
from reverie.run.parts.shutdown import Shutdown, Stopped


def send(number):
    os.kill(os.getpid(), number)


@pytest.fixture(autouse=True)
def no_nohup():
    """Under nohup a SIGHUP is ignored, by these tests too."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.fixture
def pass_time(monkeypatch):
    """Lets seconds pass for those who count them; by itself no time passes."""
    now = [0.0]
    monkeypatch.setattr(module, "time", types.SimpleNamespace(monotonic=lambda: now[0]))

    def pass_time(seconds):
        now[0] += seconds

    return pass_time


@pytest.fixture
def left(monkeypatch):
    """With what the process was left, instead of leaving it."""
    left = []
    monkeypatch.setattr(module, "leave", lambda number, text: left.append((number, text)))
    return left


@pytest.mark.parametrize("number", module.SIGNALS)
def test_the_first_signal_is_a_request_and_a_second_ctrl_c_leaves(number, left, capfd, pass_time):
    before = signal.getsignal(number)
    with Shutdown() as shutdown:
        assert shutdown.requested is None
        assert not shutdown.over
        send(number)
        assert shutdown.requested == number
        assert shutdown.over
        assert f"{number.name}: saving and stopping." in capfd.readouterr().err
        # Terminals and what stands between them and the run may both pass a Ctrl-C on.
        send(signal.SIGINT)
        pass_time(2 * module.AGAIN_SECONDS)
        # Who ends everything at once may be impatient, and the save goes on.
        send(signal.SIGTERM)
        send(signal.SIGHUP)
        assert left == []
        send(signal.SIGINT)
        ((code, text),) = left
        assert code == signal.SIGINT
        assert "without a save" in text
    assert signal.getsignal(number) is before


def test_in_a_notebook_a_second_ctrl_c_interrupts(monkeypatch, left, pass_time):
    monkeypatch.setattr(sys, "ps1", "In : ", raising=False)
    with Shutdown():
        send(signal.SIGINT)
        pass_time(2 * module.AGAIN_SECONDS)
        with pytest.raises(KeyboardInterrupt):
            send(signal.SIGINT)
    assert left == []


def test_a_signal_ends_a_wait_and_nothing_else():
    with Shutdown() as shutdown:
        done = []
        with pytest.raises(Stopped), shutdown.interruptible():  # noqa: PT012 What does not happen.
            send(signal.SIGTERM)
            done.append("after it")
        assert done == []
        with pytest.raises(Stopped), shutdown.interruptible():
            done.append("later")
        send(signal.SIGTERM)
        done.append("elsewhere")
        assert done == ["elsewhere"]


@pytest.mark.parametrize("number", module.SIGNALS)
def test_a_wait_ends_although_the_garbage_collector_swallows_it(number, left, capfd):
    """Python ignores what is raised in a callback of it, as in `__del__`. JAX has such a one."""
    hook, sent = sys.unraisablehook, []

    def callback(phase, info):
        if not sent:
            sent.append(number)
            send(number)

    gc.callbacks.append(callback)
    try:
        with Shutdown() as shutdown, pytest.raises(Stopped), shutdown.interruptible():  # noqa: PT012
            gc.collect()
            time.sleep(60)
            pytest.fail("The wait went on.")
    finally:
        gc.callbacks.remove(callback)
    assert sys.unraisablehook is hook
    assert left == []
    assert "ignored" not in capfd.readouterr().err


def test_a_lock_is_no_obstacle():
    with Shutdown() as shutdown:
        threading.Timer(0.2, send, (signal.SIGTERM,)).start()
        with pytest.raises(Stopped), shutdown.interruptible():
            threading.Event().wait(30)


def test_handlers_that_an_environment_replaced_are_taken_back():
    with Shutdown() as shutdown:
        for number in module.SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        shutdown.install()
        send(signal.SIGTERM)
        assert shutdown.requested == signal.SIGTERM


def test_what_nohup_ignores_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Shutdown() as shutdown:
            send(signal.SIGHUP)
            assert shutdown.requested is None
            shutdown.install()
            assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_the_end_of_the_time_is_the_end_of_the_run():
    shutdown = Shutdown()
    shutdown.late = lambda: True
    assert shutdown.over
    assert shutdown.requested is None


def test_other_threads_leave_signals_alone():
    before = signal.getsignal(signal.SIGTERM)
    requested = []

    def work():
        with Shutdown() as shutdown, shutdown.interruptible():
            shutdown.install()
            requested.append(shutdown.requested)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert requested == [None]
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_second_ctrl_c_ends_a_process_that_nothing_else_would_end():
    code = """
        import signal, time
        from reverie.run.parts.shutdown import Shutdown
        with Shutdown() as shutdown:
            print("ready", flush=True)
            while True:
                time.sleep(0.01)
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout
        assert process.stderr
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        # Two that arrive before it has looked are one.
        assert process.stderr.readline().startswith("SIGINT: saving and stopping.")
        time.sleep(2 * module.AGAIN_SECONDS)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=200)
    assert process.returncode == 130
    assert err.endswith("Stopped without a save: what was saved before is still there.\n")


def test_ctrl_c_before_there_is_a_run_ends_the_command_although_python_would_ignore_it():
    script = (
        "import gc, os, signal, time; from reverie.commands import process; "
        # Shells ignore it in the background.
        "signal.signal(signal.SIGINT, signal.default_int_handler); process.take_signals(); "
        "gc.callbacks.append(lambda *_: os.kill(os.getpid(), signal.SIGINT)); gc.collect(); "
        "time.sleep(60); print('It went on.')"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "Stopped by SIGINT.\n")


def test_ctrl_c_in_an_import_raises_nothing_in_compiled_modules(tmp_path):
    (tmp_path / "compiled.py").write_text(
        "import os, signal, time\n"
        "try:\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    time.sleep(60)\n"
        "except KeyboardInterrupt:\n"
        "    os.abort()\n"
    )
    script = (
        "import signal; from reverie.commands import process; "
        "signal.signal(signal.SIGINT, signal.default_int_handler); process.take_signals(); "
        f"import sys; sys.path.append({str(tmp_path)!r}); import compiled"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "Stopped by SIGINT.\n")
