"""The progress line on a terminal, and plain lines elsewhere."""

import io
import json
import os
import pathlib
import re
import subprocess
import sys
import threading
import time

import pytest

from reverie.track.logger import Logger
from reverie.track.sinks.base import RunInfo
from reverie.track.sinks.board import Scores
from reverie.track.sinks.format import format_duration, format_number, short_name
from reverie.track.sinks.terminal import TerminalSink


def sink_of(step, *, file=None, clock=time.monotonic, folder=".", **about):
    """The sink of a run at a step, which may change."""
    at = step if callable(step) else lambda: step
    return TerminalSink(RunInfo(pathlib.Path(folder), at, **about), file=file, clock=clock)


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
        self._thread = threading.Thread(target=self._collect, daemon=True)
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
    monkeypatch.setenv("LANG", "en_US.UTF-8")
    monkeypatch.delenv("LC_ALL", raising=False)
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
    sink = sink_of(lambda: step, total_steps=4000, file=file, clock=clock)
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
        "steps/s 412",
        "loss rec 0.0312, dyn 1.25",
    ]


def test_a_plain_line_is_cut_between_metrics_and_losses_come_first():
    file = io.StringIO()
    sink = sink_of(1, file=file)
    losses = {f"train/loss/term{i}": 1.0 for i in range(9)}
    sink.write(1, {"replay/replay_ratio": 3.0, **losses, "fps/policy": 2.0})
    (line,) = file.getvalue().splitlines()
    assert line[8:].startswith(" | step 1 | steps/s 2.00 | loss term0 1.00, term1 1.00")
    assert line.endswith("term5 1.00")
    assert len(line) + len(", term6 1.00") > 120 >= len(line)


def test_plain_output_also_when_colour_is_forced(monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    file = io.StringIO()
    sink = sink_of(5, file=file)
    sink.write(5, {"train/loss/dyn": 1.0})
    sink.close()
    assert "\x1b" not in file.getvalue()
    assert file.getvalue().endswith("step 5 | loss dyn 1.00\n")


def test_the_filter_chooses_metrics():
    file = io.StringIO()
    sink = sink_of(1, filter="replay|grad", file=file)
    sink.episode(1, {"episode/score": 1.0})
    sink.write(1, METRICS)
    assert file.getvalue().split(" | ")[1:] == [
        "step 1",
        "opt grad_norm 9.00",
        "replay items 100\n",
    ]


def test_the_score_is_the_mean_of_the_latest_episodes_of_each_kind():
    file = io.StringIO()
    sink = sink_of(1, filter="score", file=file)
    for score in [1000.0] * 30 + [1.0] * 10 + [2.0] * 10:
        sink.episode(1, {"episode/score": score})
    sink.episode(1, {"eval/episode/score": 7.0})
    sink.write(1, {"episode/score": 500.0})
    assert file.getvalue().split(" | ")[1:] == ["step 1", "score 1.50", "eval score 7.00\n"]


def eta(clock, steps_at, **limits):
    """The ETA printed after walking through (time, step) pairs."""
    file = io.StringIO()
    sink = sink_of(0, file=file, clock=clock, **limits)
    for clock.now, step in steps_at:
        sink.write(step, {})
    found = re.search(r"eta (\S+)", file.getvalue().splitlines()[-1])
    return found and found[1]


def test_eta_follows_the_recent_speed():
    slow_start = [(100.0, 0), (200.0, 10), (400.0, 2010), (600.0, 4010)]
    assert eta(Clock(), slow_start, total_steps=5010) == "1m40s"


@pytest.mark.parametrize("every", [1, 30, 300])
def test_eta_forgets_what_was_before_a_sleep(every):
    awake = [(every * (i + 1), 100 * (i + 1)) for i in range(10)]
    slept = [(1e6 + time, 1000 + step) for time, step in awake]
    for past in (awake, awake + slept[:2], awake + slept):
        assert eta(Clock(), past, total_steps=past[-1][1] + 100) == format_duration(every)
    assert eta(Clock(), awake + slept[:1], total_steps=10_000) is None


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
    sink = sink_of(0, total_steps=1000, file=file, clock=clock)
    rates = [(5, 10, 0.0), (30, 20, 500.0), (40, 120, 5000.0)]
    for clock.now, step, speed in rates:
        sink.write(step, {"fps/train": speed, "fps/policy": 1.0})
    before, first, then = file.getvalue().splitlines()
    assert "eta" not in before + first
    assert "eta 1m28s" in then


def test_a_line_that_tells_nothing_new_is_left_out():
    file = io.StringIO()
    sink = sink_of(0, file=file)
    for rate, metrics in ((3.0, {}), (0.0, {}), (0.0, {"train/loss/dyn": 1.0})):
        sink.write(400, {"fps/policy": rate, "fps/train": rate, **metrics})
    sink.write(400, {"eval/episode/score": 3.0})
    lines = file.getvalue().splitlines()
    assert len(lines) == 3
    assert "loss dyn" in lines[1]


def test_eta_of_a_resumed_run_counts_from_where_it_resumed():
    clock, file, step = Clock(), io.StringIO(), 900
    sink = sink_of(lambda: step, total_steps=1000, file=file, clock=clock)
    clock.now = 10.0
    sink.write(910, {})
    assert "eta 1m30s" in file.getvalue()


def test_a_board_stays_in_place_below_messages(terminal):
    step = 0
    about = {"title": ("CartPole-v1", "small"), "options": {"run": {"train_ratio": 32}}}
    sink = sink_of(lambda: step, total_steps=10_000, file=terminal.file, **about)
    logger = Logger([sink], lambda: step)
    for i in range(5):
        step += 1000
        logger.note(f"message [{i}]")
        logger.note(f"Saved at {step:,} environment steps.")
        logger.add({"episode/score": 10.0 * i, "episode/length": 100, **METRICS})
        logger.add({"time/update": 0.75, "time/policy": 0.2, "usage/rss_gb": 1.5})
        logger.add({"replay/steps": step, "replay/capacity": 100_000})
        logger.write()
    logger.close()
    output = terminal.finish()
    rows = screen(output)
    assert rows[:5] == [f"message [{i}]" for i in range(5)]
    title, steps, score, speed, time, loss, memory, replay = rows[5:]
    assert title == "CartPole-v1 · small"
    assert re.fullmatch(r"steps   ━{30,32}─{30,32}  5,000 of 10,000  50%  \d+s left", steps)
    assert score == "score   20.0  best 40.0  length 100  5 episodes  ▁▃▅▆█"
    assert speed == "speed   elapsed 0s  412 steps/s  replay ratio 32.0 of 32"
    assert time == "time    update 75%  policy 20%"
    assert loss == "loss    rec 0.0312  dyn 1.25"
    assert memory == "memory  process 1.5 GB"
    assert replay == "replay  5,000 of 100,000 steps  5% full  saved at 5,000, 0s ago"
    assert output.rindex("\x1b[?25h") > output.rindex("\x1b[?25l"), "the cursor stays hidden"


@pytest.mark.parametrize("width", [1, 20, 45, 200])
def test_no_row_of_a_board_is_wider_than_the_terminal(terminal, monkeypatch, width):
    monkeypatch.setenv("COLUMNS", str(width))
    sink = sink_of(10, total_steps=100, file=terminal.file, stopping=lambda: "SIGINT: stopping.")
    for score in range(200):
        sink.episode(10, {"episode/score": float(score), "episode/length": 10})
    sink.write(10, {**METRICS, "env/restarts": 2, "usage/rss_gb": 1.0})
    sink.close()
    rows = screen(terminal.finish())
    assert all(len(row) <= width for row in rows)
    if width == 200:
        assert rows[-2:] == ["SIGINT: stopping.", "2 restarts of environments after errors"]


@pytest.mark.parametrize(
    ("locale", "encoding"), [("C", "utf-8"), ("", "utf-8"), ("de_DE.UTF-8", "ascii")]
)
def test_a_board_without_a_locale_is_ascii(terminal, monkeypatch, locale, encoding):
    monkeypatch.setenv("LC_CTYPE", "C.UTF-8")  # As Python sets it then.
    monkeypatch.setenv("LANG", locale)
    terminal.file.reconfigure(encoding=encoding)
    sink = sink_of(5, total_steps=10, file=terminal.file, title=("task", "small"))
    for score in (1.0, 2.0):
        sink.episode(5, {"episode/score": score})
    sink.write(5, METRICS)
    if encoding == "ascii":
        sink.note("größe")
    sink.close()
    output = terminal.finish()
    assert output.isascii()
    rows = screen(output)
    assert (rows[0] == r"gr\xf6\xdfe") == (encoding == "ascii")
    title, steps, score = rows[-5:-2]
    assert title == "task | small"
    assert re.match("steps   ={20,}-{20,}", steps)
    assert score.endswith("2 episodes  _#")


def test_what_this_process_prints_stands_above_the_board(terminal, monkeypatch):
    monkeypatch.setattr(sys, "stdout", terminal.file)
    sink = sink_of(5, total_steps=10, title=("task",))
    print("the environment says [this]")
    warnings = sys.stderr
    print("a warning", file=warnings)
    sink.close()
    assert sys.stdout is terminal.file
    rows = screen(terminal.finish())
    assert rows[:3] == ["the environment says [this]", "a warning", "task"]


def test_rows_that_a_narrower_terminal_has_broken_are_taken_back(terminal, monkeypatch):
    sink = sink_of(5, total_steps=10, file=terminal.file, title=("task " * 15,))
    sink._live.refresh()
    monkeypatch.setattr(sink._console, "_width", 30)
    sink._live.refresh()
    sink.close()
    # A title of 75, steps of 100, a score and a speed: 3, 4 and 2 lines in place of three.
    assert "\r\x1b[9A\x1b[J\x1b[3B" in terminal.finish()


def test_a_resumed_run_shows_the_scores_of_before(terminal, tmp_path):
    scores = [json.dumps({"step": i, "episode/score": float(i)}) for i in range(5)]
    (tmp_path / "scores.jsonl").write_text("\n".join(scores))
    about = {"first_step": 5, "episodes": 5, "elapsed": 61.0}
    sink = sink_of(5, total_steps=10, file=terminal.file, folder=tmp_path, **about)
    sink.episode(6, {"episode/score": 6.0})
    sink.close()
    rows = screen(terminal.finish())
    assert rows[2].startswith("score   2.67  best 6.00  6 episodes")
    assert "elapsed 1m01s" in rows[3]


def test_a_curve_keeps_all_of_a_long_run_in_a_few_signs():
    scores = Scores()
    for i in range(10_000):
        scores.add(float(i))
    curve = scores.curve(8, "01234567")
    assert curve == "01234567"[: len(curve)] or curve == "".join(sorted(curve))
    assert 4 <= len(curve) <= 8
    assert (curve[0], curve[-1]) == ("0", "7")
    assert scores.best == 9999
    assert Scores().curve(8, "01") == ""


def test_frames_are_told_where_actions_are_repeated(terminal):
    file = io.StringIO()
    sink = sink_of(1000, total_steps=4000, file=file, repeat=4)
    sink.write(1000, {})
    assert file.getvalue().split(" | ")[1:] == ["step 1,000/4,000 (25%)", "frames 4000\n"]
    sink = sink_of(1000, total_steps=4000, file=terminal.file, repeat=4)
    sink.close()
    assert "25%  4000 frames" in "".join(screen(terminal.finish()))


def test_a_terminal_redraws_by_itself(terminal):
    step = 0
    sink = sink_of(lambda: step, file=terminal.file)
    step = 123
    deadline = time.monotonic() + 100
    while not any(b"123" in c for c in terminal._chunks) and time.monotonic() < deadline:
        time.sleep(0.05)
    drawn = b"".join(terminal._chunks).decode()
    sink.close()
    terminal.finish()
    assert "123" in drawn


def test_a_board_keeps_metrics_in_view_and_has_a_row_for_what_the_filter_asks(terminal):
    sink = sink_of(1, filter="own/|score|train/loss", file=terminal.file)
    sink.write(1, {"report/score": 1.0, "own/metric": 3.0, "other": 1.0})
    sink.write(1, {"train/loss/dyn": float("nan")})
    sink.close()
    output = terminal.finish()
    rows = screen(output)
    assert rows[-1] == "also    report score 1.00  own metric 3.00"
    assert "loss    dyn nan" in rows
    assert "\x1b[1;31mnan" in output


def test_notes_are_broken_between_words_and_paths_stay_whole(terminal):
    sink = sink_of(1, file=terminal.file)
    path = "/a/path/" + "x" * 120
    sink.note("word " * 25)
    sink.note(f"Run folder: {path}")
    sink.close()
    output = terminal.finish()
    assert path in output
    assert "word\r\n  word" in output


@pytest.mark.parametrize("kind", ["dumb", "unknown", ""])
def test_a_dumb_terminal_gets_plain_lines(terminal, monkeypatch, kind):
    monkeypatch.setenv("TERM", kind)
    sink = sink_of(1, file=terminal.file)
    sink.write(1, {})
    sink.close()
    assert "\x1b" not in terminal.finish()


def test_an_uncaught_error_gives_the_cursor_back(terminal):
    code = "import pathlib; from reverie.track.sinks.terminal import TerminalSink, RunInfo; "
    code += "TerminalSink(RunInfo(pathlib.Path(), lambda: 1)); 1 / 0"
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
        ("fps/policy", "steps/s"),
        ("train/opt/lr", "opt lr"),
        ("epstats/log/x/avg", "epstats log/x/avg"),
    ],
)
def test_names_are_short(key, name):
    assert short_name(key) == name


def test_odd_names_stay_on_one_line_and_command_nothing():
    file = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    metrics = {"a\nb": 1.0, "\x1b[2Jc": 2.0, "größe": 3.0, "d": "two\nlines"}
    with Logger([sink_of(3, filter="", file=file)], lambda: 3) as logger:
        logger.add(metrics)
        logger.write()
        logger.note("Größe: ü")
    lines = file.buffer.getvalue().decode().splitlines()
    assert len(lines) == 2
    assert r"a\nb 1.00 | \x1b[2Jc 2.00 | gr\xf6\xdfe 3.00 | d two\nlines" in lines[0]


def test_an_evaluation_is_told_once_and_a_step_past_the_end_is_all_of_it():
    file = io.StringIO()
    sink = sink_of(80, total_steps=30, file=file)
    sink.episode(80, {"episode/score": 1.0})
    sink.episode(80, {"eval/episode/score": 2.0})
    sink.write(80, METRICS)
    sink.write(81, METRICS)
    first, second = file.getvalue().splitlines()
    assert "step 80/30 (100%)" in first
    assert "eval score 2" in first
    assert "eval" not in second
    assert "score 1" in second


def test_the_limit_of_time_is_no_eta_before_the_speed_is_known():
    file, clock = io.StringIO(), Clock()
    sink = sink_of(0, total_steps=1000, duration=480, file=file, clock=clock)
    for clock.now, step, speed in ((5, 10, 0.0), (30, 20, 500.0), (40, 120, 5000.0)):
        sink.write(step, {"fps/train": speed, "fps/policy": 1.0})
    assert ["eta" in line for line in file.getvalue().splitlines()] == [False, False, True]


def test_evaluations_alone_have_a_score_too(terminal):
    sink = sink_of(5, file=terminal.file)
    sink.episode(5, {"eval/episode/score": 3.0})
    sink.close()
    assert "score   eval 3.00" in screen(terminal.finish())
