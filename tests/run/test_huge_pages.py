"""`reverie train` asks for huge pages where Linux waits to be asked."""

import pathlib
import re
import time

import psutil
import pytest

from reverie.commands.process import huge_pages_on_demand


def given(pid):
    """The tunables of malloc with which a process was started."""
    environment = pathlib.Path(f"/proc/{pid}/environ").read_text()
    return re.findall(r"GLIBC_TUNABLES=(.*?)\0", environment)


@pytest.mark.skipif(not huge_pages_on_demand(), reason="malloc has them always, or never")
@pytest.mark.parametrize("own", ["", "glibc.malloc.check=0"])
def test_training_asks_for_itself_alone(command, tmp_path, monkeypatch, own):
    monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
    if own:
        monkeypatch.setenv("GLIBC_TUNABLES", own)
    # Pages are asked for when the process starts, whatever acts in it.
    words = ["train", "--configs", "debug", "--task", "gym_CartPole-v1", "--random_agent", "true"]
    words += ["--run.env_backend", "async", "--run.steps", "1e7", "--logger.outputs", "jsonl"]
    run = command(*words, "--logdir", str(tmp_path))
    scores = tmp_path / "scores.jsonl"
    while not (scores.exists() and scores.stat().st_size):
        assert run.poll() is None, run.communicate()[1]
        time.sleep(0.1)
    assert given(run.pid) == [own or "glibc.malloc.hugetlb=1"]
    children = psutil.Process(run.pid).children(recursive=True)
    assert children
    for child in children:
        assert given(child.pid) == [own] * bool(own)
