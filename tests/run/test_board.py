"""A run on a terminal that signals end."""

import os
import signal
import subprocess
import sys
import threading

import pytest

SIGNALS = [(signal.SIGINT, 130), pytest.param(signal.SIGTERM, 143, marks=pytest.mark.slow)]


@pytest.mark.parametrize(("number", "code"), SIGNALS)
def test_signals_are_told_on_the_board_and_the_cursor_comes_back(tmp_path, number, code):
    master, slave = os.openpty()
    words = ["train", "--configs", "debug", "--task", "CartPole-v1", "--random_agent", "true"]
    words += ["--run.steps", "1e7", "--run.env_backend", "async", "--logdir", str(tmp_path / "run")]
    process = subprocess.Popen(
        [sys.executable, "-m", "reverie", *words],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "100", "LINES": "40", "LANG": "C"},
        start_new_session=True,
    )
    os.close(slave)
    output, seen = bytearray(), threading.Event()

    def read():
        try:
            while part := os.read(master, 65536):
                output.extend(part)
                if b"episodes" in output:
                    seen.set()
        except OSError:  # What the end of a terminal is to Linux.
            return

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    try:
        assert seen.wait(400), output.decode()
        process.send_signal(number)
        assert process.wait(200) == code
    finally:
        process.kill()
        process.wait()
    thread.join(100)
    os.close(master)
    text = output.decode()
    assert f"{number.name}: saving and stopping." in text
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l"), "the cursor stays hidden"
    assert f"Run stopped by {number.name} and saved after" in text[text.rindex("\x1b[?25h") :]
    assert "Traceback" not in text
