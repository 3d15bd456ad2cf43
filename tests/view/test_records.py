"""Files of records are read as they grow, each time only what is new."""

import json
import os

from reverie.view.records import POINTS, read_new


def line(step, **values):
    return json.dumps({"step": step, "time": 100.0 + step, **values}) + "\n"


def test_only_what_is_new_is_read(tmp_path):
    path = tmp_path / "metrics.jsonl"
    assert read_new(path)["columns"] == {}
    path.write_text(line(1, a=1.5) + line(2, a=None, note="hello") + '{"step": 3, "a"')
    first = read_new(path)
    assert first["fresh"]
    assert first["columns"] == {"step": [1, 2], "time": [101, 102], "a": [1.5, None]}
    assert first["texts"] == [[102.0, "note", "hello"]]
    nothing = read_new(path, first["cursor"])
    assert (nothing["columns"], nothing["fresh"]) == ({}, False)
    with open(path, "a") as file:
        file.write(': 7}\nno json\n[1]\n{"step": 1e999, "b": 2}\n')
    second = read_new(path, nothing["cursor"])
    assert second["columns"] == {"step": [3, None], "a": [7, None], "b": [None, 2]}
    # What was read is not opened again: here it is overwritten in place.
    read_to = int(second["cursor"].partition("-")[0])
    assert read_to == os.path.getsize(path)


def test_a_run_that_went_back_is_read_anew(tmp_path):
    path = tmp_path / "scores.jsonl"
    path.write_text("".join(line(step) for step in range(50)))
    cursor = read_new(path)["cursor"]
    os.truncate(path, 20 * len(line(1)))
    assert read_new(path, cursor)["fresh"]
    # Also where as much was written again.
    path.write_text("".join(line(step) for step in range(100, 160)))
    again = read_new(path, cursor)
    assert (again["fresh"], again["columns"]["step"][0]) == (True, 100)
    for nonsense in ("x", "-1-2", "5", "5-", "99999999999999999999-0", "9" * 5000):
        assert read_new(path, nonsense)["fresh"]


def test_of_many_texts_the_newest_are_kept(tmp_path):
    path = tmp_path / "notes.jsonl"
    path.write_text("".join(line(step, note=str(step)) for step in range(POINTS + 5)))
    texts = read_new(path)["texts"]
    assert [text for *_, text in texts] == [str(step) for step in range(5, POINTS + 5)]


def test_a_long_file_gives_means(tmp_path):
    path, count = tmp_path / "scores.jsonl", 5 * POINTS + 3
    path.write_text("".join(line(step, score=step % 2) for step in range(count)))
    columns = read_new(path)["columns"]
    assert POINTS / 2 <= len(columns["step"]) <= POINTS
    assert columns["step"] == sorted(columns["step"])
    assert columns["score"][:-1] == [0.5] * (len(columns["step"]) - 1)
    assert abs(columns["step"][-1] - count) < 10
