"""The progress line on a terminal, and plain lines elsewhere."""

import io
import os
import re
import subprocess
import sys
import threading
import time

import pytest

from reverie.track.logger import Logger
from reverie.track.sinks.format import format_duration, format_number, short_name
from reverie.track.sinks.terminal import TerminalSink

METRICS = {
    "train/loss/dyn": 1.25,
    "train/loss/rec": 0.0312,
    "train/opt/grad_norm": 9.0,
    "fps/train": 13210.0,
    "fps/policy": 412.3,
    "train/update_ratio": 0.5,
    "replay/items": 100,
}


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


class Terminal:
    """A pseudo terminal that collects what is printed to it."""

    def __init__(self):
        self._master, slave = os.openpty()
        self.file = os.fdopen(slave, "w", encoding="utf-8")
        self._chunks = []
        self._thread = threading.Thread(target=self._collect)
        self._thread.start()

    def _collect(self):
        try:
            while chunk := os.read(self._master, 65536):
                self._chunks.append(chunk)
        except OSError:
            # Linux reports the end of a pseudo terminal as an error.
            return

    def finish(self):
        self.file.close()
        self._thread.join()
        os.close(self._master)
        return b"".join(self._chunks).decode()


@pytest.fixture
def terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("TERM", "xterm-256color")
    return Terminal()


def screen(output):
    """What a person sees in the end: interprets the few control codes that are used."""
    rows, row, column = [""], 0, 0
    for token in re.findall(r"\x1b\[[0-9;?]*[A-Za-z]|\r|\n|[^\x1b\r\n]+", output):
        if token == "\n":
            row += 1
            rows += [""] * (row + 1 - len(rows))
        elif token == "\r":
            column = 0
        elif token == "\x1b[2K":
            rows[row] = ""
        elif up := re.fullmatch(r"\x1b\[(\d+)A", token):
            row -= int(up[1])
        elif not token.startswith("\x1b"):
            rows[row] = rows[row][:column] + token + rows[row][column + len(token) :]
            column += len(token)
    return [text for text in rows if text]


def test_plain_output_is_one_line_per_write():
    file, clock, step = io.StringIO(), Clock(), 1000
    sink = TerminalSink(lambda: step, total_steps=4000, file=file, clock=clock)
    logger = Logger([sink], lambda: step)
    logger.note("Made [4] environments.")
    logger.add({"episode/score": 10.0, "episode/length": 200})
    logger.add({"episode/score": 20.0, "episode/length": 300})
    logger.add(METRICS)
    logger.write()
    logger.add(METRICS)
    step, clock.now = 2000, 60.0
    logger.write()
    logger.close()
    note, _, line = file.getvalue().splitlines()
    assert note == "Made [4] environments."
    assert re.fullmatch(r"\d\d:\d\d:\d\d", line.split(" | ")[0])
    assert line.split(" | ")[1:] == [
        "step 2,000/4,000 (50%)",
        "eta 2m00s",
        "score 15.0",
        "length 250",
        "policy fps 412",
        "loss dyn 1.25, rec 0.0312",
    ]


def test_a_plain_line_is_cut_between_metrics_and_losses_come_first():
    file = io.StringIO()
    sink = TerminalSink(lambda: 1, file=file)
    losses = {f"train/loss/term{i}": 1.0 for i in range(9)}
    sink.write(1, {"replay/replay_ratio": 3.0, **losses, "fps/policy": 2.0})
    (line,) = file.getvalue().splitlines()
    assert line[8:].startswith(" | step 1 | policy fps 2.00 | loss term0 1.00, term1 1.00")
    assert line.endswith("term5 1.00")
    assert len(line) + len(", term6 1.00") > 120 >= len(line)


def test_plain_output_also_when_colour_is_forced(monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    file = io.StringIO()
    sink = TerminalSink(lambda: 5, file=file)
    sink.write(5, {"train/loss/dyn": 1.0})
    sink.close()
    assert "\x1b" not in file.getvalue()
    assert file.getvalue().endswith("step 5 | loss dyn 1.00\n")


def test_the_filter_chooses_metrics():
    file = io.StringIO()
    sink = TerminalSink(lambda: 1, filter="replay|grad", file=file)
    sink.episode(1, {"episode/score": 1.0})
    sink.write(1, METRICS)
    assert file.getvalue().split(" | ")[1:] == [
        "step 1",
        "opt grad_norm 9.00",
        "replay items 100\n",
    ]


def test_the_score_is_the_mean_of_the_latest_episodes_of_each_kind():
    file = io.StringIO()
    sink = TerminalSink(lambda: 1, filter="score", file=file)
    for score in [1000.0] * 30 + [1.0] * 10 + [2.0] * 10:
        sink.episode(1, {"episode/score": score})
    sink.episode(1, {"eval/episode/score": 7.0})
    sink.write(1, {"episode/score": 500.0})
    assert file.getvalue().split(" | ")[1:] == ["step 1", "score 1.50", "eval score 7.00\n"]


def eta(clock, steps_at, **limits):
    """The ETA printed after walking through (time, step) pairs."""
    file = io.StringIO()
    sink = TerminalSink(lambda: 0, file=file, clock=clock, **limits)
    for clock.now, step in steps_at:
        sink.write(step, {})
    found = re.search(r"eta (\S+)", file.getvalue().splitlines()[-1])
    return found and found[1]


def test_eta_follows_the_recent_speed():
    slow_start = [(100.0, 0), (200.0, 10), (400.0, 2010), (600.0, 4010)]
    assert eta(Clock(), slow_start, total_steps=5010) == "1m40s"


def test_eta_knows_the_wall_clock_limit():
    assert eta(Clock(), [(10.0, 100)], total_steps=100_000, duration=60) == "50s"
    assert eta(Clock(), [(10.0, 100)], duration=60) == "50s"
    assert eta(Clock(), [(10.0, 100)], total_steps=200, duration=60) == "10s"


def test_eta_is_silent_when_it_would_mean_nothing():
    assert eta(Clock(), [(10.0, 0)], total_steps=100) is None
    assert eta(Clock(), [(10.0, 100)]) is None
    assert eta(Clock(), [(10.0, 1)], total_steps=10**10) is None


def test_there_is_no_eta_before_the_first_update_and_compilation_does_not_count():
    file, clock = io.StringIO(), Clock()
    sink = TerminalSink(lambda: 0, total_steps=1000, file=file, clock=clock)
    rates = [(5, 10, 0.0), (30, 20, 500.0), (40, 120, 5000.0)]
    for clock.now, step, speed in rates:
        sink.write(step, {"fps/train": speed, "fps/policy": 1.0})
    before, first, then = file.getvalue().splitlines()
    assert "eta" not in before + first
    assert "eta 1m28s" in then


def test_a_line_that_tells_nothing_new_is_left_out():
    file = io.StringIO()
    sink = TerminalSink(lambda: 0, file=file)
    for rate, metrics in ((3.0, {}), (0.0, {}), (0.0, {"train/loss/dyn": 1.0})):
        sink.write(400, {"fps/policy": rate, "fps/train": rate, **metrics})
    sink.write(400, {"eval/episode/score": 3.0})
    lines = file.getvalue().splitlines()
    assert len(lines) == 3
    assert "loss dyn" in lines[1]


def test_eta_of_a_resumed_run_counts_from_where_it_resumed():
    clock, file, step = Clock(), io.StringIO(), 900
    sink = TerminalSink(lambda: step, total_steps=1000, file=file, clock=clock)
    clock.now = 10.0
    sink.write(910, {})
    assert "eta 1m30s" in file.getvalue()


def test_a_terminal_is_updated_in_place_below_messages(terminal):
    step = 0
    sink = TerminalSink(lambda: step, total_steps=10_000, file=terminal.file)
    logger = Logger([sink], lambda: step)
    for i in range(5):
        step += 1000
        logger.note(f"message [{i}]")
        logger.add({"episode/score": 10.0 * i, "episode/length": 100, **METRICS})
        logger.write()
    logger.close()
    output = terminal.finish()
    rows = screen(output)
    assert rows[:5] == [f"message [{i}]" for i in range(5)]
    assert len(rows) == 8, rows
    assert rows[5].startswith("step 5,000/10,000 (50%)")
    assert rows[6].startswith("score 20.0  length 100  policy fps 412")
    assert rows[7] == "loss  dyn 1.25  rec 0.0312"
    assert output.rindex("\x1b[?25h") > output.rindex("\x1b[?25l"), "the cursor stays hidden"


def test_a_terminal_redraws_by_itself(terminal):
    step = 0
    sink = TerminalSink(lambda: step, file=terminal.file)
    step = 123
    deadline = time.monotonic() + 10
    while not any(b"123" in c for c in terminal._chunks) and time.monotonic() < deadline:
        time.sleep(0.05)
    drawn = b"".join(terminal._chunks).decode()
    sink.close()
    terminal.finish()
    assert "123" in drawn


def test_a_terminal_keeps_metrics_in_view_and_rows_within_its_width(terminal, monkeypatch):
    sink = TerminalSink(lambda: 1, filter=".*", file=terminal.file)
    sink.write(1, {"report/score": 1.0})
    sink.write(1, {f"train/some/metric{i}": i for i in range(40)})
    sink.write(1, {"train/loss/dyn": float("nan")})
    sink.close()
    output = terminal.finish()
    rows = screen(output)
    assert "report score 1.00" in rows[1]
    assert all(len(row) <= 100 for row in rows)
    assert re.fullmatch(r"and \d+ more in metrics.jsonl", rows[3])
    assert "\x1b[1;31mnan" in output


def test_a_dumb_terminal_gets_plain_lines(terminal, monkeypatch):
    monkeypatch.setenv("TERM", "dumb")
    sink = TerminalSink(lambda: 1, file=terminal.file)
    sink.write(1, {})
    sink.close()
    assert "\x1b" not in terminal.finish()


def test_an_uncaught_error_gives_the_cursor_back(terminal):
    code = "from reverie.track.sinks.terminal import TerminalSink; TerminalSink(lambda: 1); 1 / 0"
    process = subprocess.run(
        [sys.executable, "-c", code], stdout=terminal.file, stderr=subprocess.PIPE, check=False
    )
    output = terminal.finish()
    assert process.returncode == 1
    assert b"ZeroDivisionError" in process.stderr + output.encode()
    assert output.rindex("\x1b[?25h") > output.rindex("\x1b[?25l")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (0.0, "0"),
        (500, "500"),
        (9999, "9999"),
        (12345, "12.35k"),
        (-1_234_567, "-1.235M"),
        (2.5e9, "2.5B"),
        (4e12, "4T"),
        (1e20, "1.0e+20"),
        (0.03125, "0.0312"),
        (0.00001, "1.0e-05"),
        (1.0, "1.00"),
        (9.996, "10.0"),
        (99.96, "100"),
        (9999.7, "10k"),
        (999_960.0, "1M"),
        (float("nan"), "nan"),
        (float("-inf"), "-inf"),
        ("text", "text"),
    ],
)
def test_numbers_are_short(value, text):
    assert format_number(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-1, "0s"),
        (59.4, "59s"),
        (59.6, "1m00s"),
        (200, "3m20s"),
        (7500, "2h05m"),
        (385_000, "4d10h"),
    ],
)
def test_durations_are_short(seconds, text):
    assert format_duration(seconds) == text


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("episode/score", "score"),
        ("eval/episode/score", "eval score"),
        ("fps/policy", "policy fps"),
        ("train/opt/lr", "opt lr"),
        ("epstats/log/x/avg", "epstats log/x/avg"),
    ],
)
def test_names_are_short(key, name):
    assert short_name(key) == name


def test_odd_names_stay_on_one_line_and_command_nothing():
    file = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    metrics = {"a\nb": 1.0, "\x1b[2Jc": 2.0, "größe": 3.0, "d": "two\nlines"}
    with Logger([TerminalSink(lambda: 3, filter="", file=file)], lambda: 3) as logger:
        logger.add(metrics)
        logger.write()
        logger.note("Größe: ü")
    lines = file.buffer.getvalue().decode().splitlines()
    assert len(lines) == 2
    assert r"a\nb 1.00 | \x1b[2Jc 2.00 | gr\xf6\xdfe 3.00 | d two\nlines" in lines[0]


def test_an_evaluation_is_told_once_and_a_step_past_the_end_is_all_of_it():
    file = io.StringIO()
    sink = TerminalSink(lambda: 80, total_steps=30, file=file)
    sink.episode(80, {"episode/score": 1.0})
    sink.episode(80, {"eval/episode/score": 2.0})
    sink.write(80, METRICS)
    sink.write(81, METRICS)
    first, second = file.getvalue().splitlines()
    assert "step 80/30 (100%)" in first
    assert "eval score 2" in first
    assert "eval" not in second
    assert "score 1" in second
