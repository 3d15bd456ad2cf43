"""The state of a run, as its folder tells it."""

import dataclasses
import json
import math
import os
import pathlib
import shutil
import signal

import pytest

import reverie
from reverie.errors import ConfigError
from reverie.track.runs.status import find_runs, is_run, read_status
from reverie.track.sinks.jsonl import last_records

RANDOM = {"configs": "debug", "random_agent": True, "run.log_every": 1e-9, "run.envs": 1}
RANDOM |= {"logger.outputs": ["jsonl"], "run.save_every": 0}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run"
    seen = {}

    def look(run):
        if run.steps == 50:
            seen["running"] = read_status(folder)
            shutil.copytree(folder, folder.parent / "killed")
            for path in [*folder.iterdir(), folder]:
                os.utime(path, (0, 0))
            seen["silent"] = read_status(folder)
        if run.steps == 60:
            run.save_now()
            seen["saved"] = read_status(folder)

    options = {**RANDOM, "run.steps": 100, "logdir": folder}
    reverie.train("CartPole-v1", callbacks=[look], **options)
    return folder, seen


def test_a_run_is_running_while_a_process_trains(finished):
    folder, seen = finished
    status = seen["running"]
    assert (status.state, status.steps, status.saved) == ("running", 50, 0)
    assert status.process.startswith(f"process {os.getpid()} on ")
    assert status.speed > 0
    assert status.left == pytest.approx(50 / status.speed)
    assert (seen["saved"].state, seen["saved"].saved) == ("running", 60)
    assert folder == status.folder


def test_one_that_writes_nothing_is_stale(finished):
    status = finished[1]["silent"]
    assert status.state == "stale"
    assert f"process {os.getpid()}" in status.why


def test_a_finished_run_has_its_counts_and_the_score_of_its_latest_episodes(finished):
    folder, _ = finished
    status = read_status(folder)
    assert (status.state, status.steps, status.total_steps) == ("finished", 100, 100)
    assert (status.task, status.model) == ("gym_CartPole-v1", "random")
    scores = [x["episode/score"] for x in last_records(folder / "scores.jsonl", 20)]
    assert len(scores) == status.episodes
    assert status.score == pytest.approx(sum(scores) / len(scores))
    assert status.left is None
    assert json.loads(json.dumps(status.to_json()))["state"] == "finished"


def test_one_that_was_killed_is_stale_and_says_from_where_it_goes_on(finished):
    status = read_status(finished[0].parent / "killed")
    assert status.state == "stale"
    assert "goes on from step 0" in status.why


def test_one_that_was_asked_to_stop_is_stopped_and_then_has_steps_left(tmp_path):
    def stop(run):
        if run.steps == 30:
            signal.raise_signal(signal.SIGTERM)

    with pytest.raises(SystemExit):
        reverie.train("CartPole-v1", callbacks=[stop], **RANDOM, logdir=tmp_path / "run")
    status = read_status(tmp_path / "run")
    assert (status.state, status.steps, status.saved, status.why) == ("stopped", 30, 30, "")


def test_runs_are_found_below_a_folder_and_through_links_once(finished, tmp_path):
    folder, _ = finished
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "linked").symlink_to(folder)
    (tmp_path / "round").symlink_to(tmp_path)
    (tmp_path / "none").mkdir()
    (tmp_path / "none" / "config.yaml").write_text("a: 1")
    assert [*find_runs(tmp_path)] == [tmp_path / "deep" / "linked"]
    assert [*find_runs(folder)] == [folder]


def test_a_folder_that_cannot_be_looked_into_is_no_run(tmp_path):
    # Its name is too long, as the rights of a folder mean nothing to root.
    assert not is_run(tmp_path / ("x" * 300))


def test_the_time_left_counts_from_the_checkpoint_on(finished, monkeypatch):
    status = dataclasses.replace(
        read_status(finished[0]), state="running", total_steps=10**6, speed=1.0, duration=480.0
    )
    monkeypatch.setattr("time.time", lambda: status.since + 200)
    fresh = dataclasses.replace(status, seconds=60.0, updated=status.since + 200)
    assert fresh.left == pytest.approx(220)
    assert dataclasses.replace(fresh, speed=math.nan).left is None


def test_a_folder_with_a_damaged_configuration_is_an_error_that_names_it(tmp_path):
    (tmp_path / "config.yaml").write_text("a: [")
    with pytest.raises(ConfigError, match=str(tmp_path)):
        read_status(tmp_path)


def test_the_newest_records_are_found_behind_long_and_torn_lines(tmp_path):
    path = pathlib.Path(tmp_path) / "records.jsonl"
    lines = [json.dumps({"step": i, "x": None}) for i in range(3)]
    long = json.dumps({"other": "y" * 200_000})
    path.write_text("\n".join([*lines, long, '{"step": 9']))
    assert [x["step"] for x in last_records(path, 2)] == [1, 2]
    assert [x["step"] for x in last_records(path, 5)] == [0, 1, 2]
    assert last_records(path, 5, "nothing") == []
