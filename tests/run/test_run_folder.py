"""Where a run goes: new folders, and folders that cannot be."""

import concurrent.futures
import datetime
import errno
import os

import pytest

from reverie.config.load import load
from reverie.config.saved_runs.foreign import read_config
from reverie.errors import ConfigError
from reverie.run.saved.folder import RunFolder, open_run
from reverie.run.scripts import launch

RANDOM = ["--configs", "debug", "--random_agent", "true", "--run.steps", "4"]


def test_starts_in_one_second_get_folders_of_their_own(tmp_path):
    folder = RunFolder(tmp_path / "runs" / "20260101T000000")
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: folder.create(fresh=True).root.name, range(8)))
    names = ["20260101T000000", *(f"20260101T000000-{number}" for number in range(2, 9))]
    assert sorted(made) == sorted(names)
    # A folder that was named is the one that is meant.
    assert folder.create() == folder


def test_runs_that_start_in_one_second_do_not_meet(tmp_path):
    words = [*RANDOM, "--logdir", str(tmp_path / "{task}-{seed}-{timestamp}")]
    config = load(words)
    first, second = launch(config), launch(config)
    assert first.logdir.name.startswith("dummy_disc-0-20")
    assert second.logdir.name == f"{first.logdir.name}-2"
    assert read_config(second.logdir / "config.yaml").logdir == str(second.logdir)
    assert (second.logdir / "replay").exists()
    # Given by its name, the same folder is resumed.
    words = [*RANDOM[:-1], "8", "--logdir", str(second.logdir)]
    assert launch(load(words)).steps == 8


def test_the_hour_that_comes_twice_is_no_resume(tmp_path):
    logdirs = []
    for fold, task in enumerate(("dummy_disc", "dummy_cont")):
        now = datetime.datetime(2026, 10, 25, 2, 30, fold=fold)
        words = [*RANDOM, "--task", task, "--logdir", str(tmp_path / "{timestamp}")]
        logdirs.append(launch(load(words, now=now)).logdir.name)
    # The later run would be refused if it were compared with the earlier one, which stays.
    assert logdirs == ["20261025T023000", "20261025T023000-2"]


@pytest.mark.parametrize("place", ["/proc/runs/a", "file/a", "file"])
def test_a_folder_that_cannot_be_is_refused_by_its_cause(tmp_path, place):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError) as caught:
        launch(load([*RANDOM, "--logdir", os.path.join(tmp_path, place)]))
    assert "cannot be made or written" in str(caught.value)
    assert "replay" not in str(caught.value)


def test_a_folder_that_may_not_be_looked_into_is_told(tmp_path, monkeypatch):
    def stat(path, **options):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    with monkeypatch.context() as patch:
        patch.setattr(os, "stat", stat)  # Who is root may look anywhere.
        with pytest.raises(ConfigError, match="theirs cannot be looked into: Permission denied"):
            open_run(tmp_path / "theirs")


@pytest.mark.parametrize("text", ["model: {name: resnet}\n", "- a\n", "{{ a template }}: {\n"])
def test_a_configuration_of_something_else_is_not_replaced(text, tmp_path):
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(ConfigError, match=r"config\.yaml is not that of a run, and would be rep"):
        launch(load([*RANDOM, "--logdir", str(tmp_path)]))
    assert [path.name for path in tmp_path.iterdir()] == ["config.yaml"]
    assert (tmp_path / "config.yaml").read_text() == text
    for kept in ("", "task: dummy_disc\n"):  # Of a run that was killed before it had saved.
        (tmp_path / "config.yaml").write_text(kept)
        assert RunFolder(tmp_path).saved() is None
