"""JSON lines survive kills, resumes and torn ends."""

import errno
import json
import math
import os
import signal
import subprocess
import sys
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reverie.track.logger import Logger
from reverie.track.sinks.jsonl import JsonlSink, go_back, read_jsonl

WRITER = """
import sys
from reverie.track.logger import Logger
from reverie.track.sinks.jsonl import JsonlSink
step = 0
logger = Logger([JsonlSink(sys.argv[1])], lambda: step)
while True:
    step += 1
    logger.add({"episode/score": step / 2, "episode/length": step})
    logger.add({f"train/metric{i}": i * 0.1 for i in range(200)})
    logger.write()
"""


def run_once(logdir, step, **metrics):
    with Logger([JsonlSink(logdir)], lambda: step) as logger:
        logger.add(metrics)


def test_metrics_hold_step_time_numbers_and_texts(tmp_path):
    before = time.time()
    run_once(tmp_path, 3, loss=0.5, count=2**60, host="a\nb")
    (record,) = read_jsonl(tmp_path / "metrics.jsonl")
    assert before <= record.pop("time") <= time.time()
    assert record == {"step": 3, "loss": 0.5, "count": 2**60, "host": "a\nb"}
    assert read_jsonl(tmp_path / "scores.jsonl") == []


def test_scores_get_one_line_per_episode_before_any_write(tmp_path):
    logger = Logger([JsonlSink(tmp_path)], lambda: 8)
    logger.add({"episode/score": 1.5, "episode/length": 4, "epstats/log/x/avg": 2.0})
    logger.add({"episode/score": 2.5, "episode/length": 5}, prefix="eval")
    first, second = read_jsonl(tmp_path / "scores.jsonl")
    logger.close()
    assert first.keys() == {"step", "time", "episode/score", "episode/length"}
    assert (first["step"], first["episode/score"], first["episode/length"]) == (8, 1.5, 4)
    assert second["eval/episode/score"] == 2.5


def test_infinite_numbers_stay_valid_json(tmp_path):
    run_once(tmp_path, 0, a=math.nan, b=math.inf, c=1.0)
    text = (tmp_path / "metrics.jsonl").read_text()

    def refuse(constant):
        raise AssertionError(constant)

    assert json.loads(text, parse_constant=refuse)["a"] is None
    (record,) = read_jsonl(tmp_path / "metrics.jsonl")
    assert math.isnan(record["a"])
    assert math.isnan(record["b"])
    assert record["c"] == 1.0


def test_nothing_to_say_writes_no_line(tmp_path):
    logger = Logger([JsonlSink(tmp_path)], lambda: 0)
    logger.write()
    logger.close()
    assert (tmp_path / "metrics.jsonl").read_bytes() == b""


def test_home_folder_is_understood(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    run_once("~/logdir/run", 1, x=1.0)
    assert len(read_jsonl("~/logdir/run/metrics.jsonl")) == 1
    assert (tmp_path / "logdir/run/metrics.jsonl").is_file()


def test_killed_process_leaves_whole_lines_and_resumes(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)])
    metrics = tmp_path / "metrics.jsonl"
    deadline = time.monotonic() + 60
    try:
        while not (metrics.exists() and metrics.stat().st_size > 200_000):
            assert process.poll() is None, "the writer ended by itself"
            assert time.monotonic() < deadline, "the writer wrote nothing"
            time.sleep(0.01)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    before = read_jsonl(metrics)
    scores = read_jsonl(tmp_path / "scores.jsonl")
    assert [r["step"] for r in before] == list(range(1, len(before) + 1))
    # An episode is written before the metrics of the same step, so at most one is ahead.
    assert [r["step"] for r in scores] == list(range(1, len(scores) + 1))
    assert len(scores) - len(before) in (0, 1)
    run_once(tmp_path, 10**6, x=1.0)
    after = read_jsonl(metrics)
    assert after[:-1] == before
    assert after[-1]["step"] == 10**6


RECORDS = [{"step": i, "text": "é" * i, "x": i / 7} for i in range(6)]
LINES = [json.dumps(r, ensure_ascii=False).encode() + b"\n" for r in RECORDS]


@settings(max_examples=60, deadline=None)
@given(cut=st.integers(0, sum(map(len, LINES))))
def test_any_cut_keeps_the_records_before_it(tmp_path_factory, cut):
    folder = tmp_path_factory.mktemp("run")
    path = folder / "metrics.jsonl"
    path.write_bytes(b"".join(LINES)[:cut])
    ends = [sum(map(len, LINES[: i + 1])) for i in range(len(LINES))]
    # A line that lacks only its newline is whole.
    whole = [r for r, end in zip(RECORDS, ends, strict=True) if end - 1 <= cut]
    assert read_jsonl(path) == whole
    run_once(folder, 99, x=1.0)
    *kept, last = read_jsonl(path)
    assert kept == whole
    assert last["step"] == 99
    assert path.read_bytes().count(b"\n") == len(whole) + 1


@pytest.mark.parametrize("size", [10, 65536, 200_000])
def test_long_torn_ends_are_cut_off(tmp_path, size):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(LINES[0] + b'{"step": 1, "x": "' + b"y" * size)
    run_once(tmp_path, 2, x=1.0)
    assert [r["step"] for r in read_jsonl(path)] == [0, 2]


def test_zeros_of_a_power_cut_are_cut_off(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(LINES[0] + b"\0" * 4096)
    assert read_jsonl(path) == RECORDS[:1]
    run_once(tmp_path, 2, x=1.0)
    assert [r["step"] for r in read_jsonl(path)] == [0, 2]


def test_damage_in_the_middle_is_named(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(LINES[0] + b'{"step": 1, "x\n' + LINES[2])
    with pytest.raises(ValueError, match=r"metrics\.jsonl, line 2 is not a JSON object"):
        read_jsonl(path)


def test_a_line_that_finds_no_room_leaves_nothing(tmp_path, monkeypatch):
    write, room = os.write, [5]

    def tight(file, line):
        if room:
            if not room[0]:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            line, room[0] = line[: room[0]], 0
        return write(file, line)

    sink = JsonlSink(tmp_path)
    sink.write(1, {"x": 1.0})
    monkeypatch.setattr(os, "write", tight)
    with pytest.raises(OSError, match="No space"):
        sink.write(2, {"x": 2.0})
    room.clear()  # As when a save has removed an old checkpoint.
    sink.write(3, {"x": 3.0})
    assert [record["step"] for record in read_jsonl(tmp_path / "metrics.jsonl")] == [1, 3]


def test_a_closed_sink_refuses_to_write(tmp_path):
    sink = JsonlSink(tmp_path)
    sink.close()
    sink.close()
    with pytest.raises(ValueError, match="closed"):
        sink.write(1, {"x": 1.0})


def test_each_line_is_one_system_call(tmp_path, monkeypatch):
    sink, sizes, write = JsonlSink(tmp_path), [], os.write
    monkeypatch.setattr(os, "write", lambda f, data: sizes.append(len(data)) or write(f, data))
    sink.write(1, {f"metric{i}": 0.1 for i in range(5000)})
    sink.close()
    assert sizes == [(tmp_path / "metrics.jsonl").stat().st_size]


def test_a_resume_writes_what_was_lost_anew(tmp_path):
    count = 0
    with Logger([JsonlSink(tmp_path)], lambda: count) as logger:
        for count in (4, 7, 7, 9):
            logger.add({"episode/score": count})
            logger.write()
    with open(tmp_path / "scores.jsonl", "a") as file:
        file.write('{"step": 11, "episo')
    go_back(tmp_path, 7)
    for name in ("metrics.jsonl", "scores.jsonl"):
        assert [record["step"] for record in read_jsonl(tmp_path / name)] == [4, 7, 7]
    go_back(tmp_path, 3)
    assert (tmp_path / "scores.jsonl").read_bytes() == b""
