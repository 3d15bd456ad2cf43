"""JAX's compilation cache: what is kept, and what happens to folders and files of no use."""

import os
import pathlib
import tempfile

import jax
import numpy as np
import pytest

from reverie.learner.compilation import cache
from reverie.learner.learner import Learner
from reverie.learner.placement.devices import configure
from reverie.learner.policy import Policy

EVENTS = []
jax.monitoring.register_event_listener(lambda name, **_: EVENTS.append(name))


def run(agent, batch, obs, cache_dir):
    """Results of each program, and how many of them were found in the cache."""
    placement = configure("cpu", cache_dir=str(cache_dir))
    EVENTS.clear()
    learner = Learner(agent, placement=placement, seed=3)
    policy = Policy(agent, learner.acting(), device=placement.policy, seed=3)
    acted = [policy.act(policy.init(2), obs, mode)[1:] for mode in ("train", "eval")]
    learner.update(batch)
    learner.synchronize()
    learner.acting(newest=True)
    copies = learner.arrays(), learner.held()
    results = acted, learner.pop_metrics(), learner.report(batch), copies
    return results, EVENTS.count("/jax/compilation_cache/cache_hits")


@pytest.fixture
def all_kept(monkeypatch):
    """Also the programs of a tiny agent take long enough to be kept."""
    monkeypatch.setattr(cache, "_LEAST_SECONDS", 0.0)
    yield
    configure("cpu", cache_dir="off")


@pytest.fixture
def files(all_kept, agent, batch, obs, tmp_path):
    """The programs of a run that had an empty cache, and its results."""
    results, hits = run(agent, batch, obs, tmp_path)
    assert hits == 0
    return results, [path for path in tmp_path.rglob("*") if path.is_file()]


def programs(paths):
    return sorted(path.name.split("-")[0] for path in paths if cache.PREFIX in path.name)


def test_all_programs_are_kept_and_compute_the_same(files, agent, batch, obs, tmp_path):
    first, paths = files
    kinds = ("act", "evaluate", "hand_out", "init", "report", "train")
    assert programs(paths) == [f"jit_reverie_{kind}" for kind in kinds]
    second, hits = run(agent, batch, obs, tmp_path)
    assert hits >= len(kinds)
    jax.tree.map(np.testing.assert_array_equal, first, second)


def test_code_that_was_changed_in_this_process_counts(
    files, agent, batch, obs, tmp_path, monkeypatch
):
    def train(self, *args):
        *results, metrics = original(self, *args)
        return *results, {**metrics, "loss/rec": metrics["loss/rec"] * 0 + 99}

    original = type(agent).train
    monkeypatch.setattr(type(agent), "train", train)
    (_, (metrics,), *_), _ = run(agent, batch, obs, tmp_path)
    assert metrics["loss/rec"] == 99


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: content[: len(content) // 2],
        lambda content: content[:50] + bytes(64) + content[114:],
        lambda content: bytes(len(content)),
    ],
)
def test_damaged_programs_are_compiled_anew_and_replaced(
    files, agent, batch, obs, tmp_path, damage, caplog
):
    first, paths = files
    for path in paths:
        path.write_bytes(damage(path.read_bytes()))
    second, _ = run(agent, batch, obs, tmp_path)
    jax.tree.map(np.testing.assert_array_equal, first, second)
    assert "A compiled program in " in caplog.text
    caplog.clear()
    _, hits = run(agent, batch, obs, tmp_path)
    assert hits >= len(programs(paths))
    assert not caplog.text


def test_a_folder_that_cannot_be_made_is_a_note(agent, batch, obs, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    note = configure("cpu", cache_dir=str(tmp_path / "file")).note
    assert note.startswith(f"Compiled programs cannot be kept in {tmp_path / 'file'}")
    assert "--jax.cache_dir" in note
    assert run(agent, batch, obs, tmp_path / "file")[1] == 0
    assert configure("cpu", cache_dir="off").note == ""


def test_without_a_home_there_is_no_cache(monkeypatch):
    def homeless(_):
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(pathlib.Path, "expanduser", homeless)
    assert "Could not determine home directory" in configure("cpu").note
    assert "cannot be kept anywhere" in configure("cpu").note


def test_a_folder_that_can_only_be_read_is_read(files, agent, batch, obs, tmp_path, monkeypatch):
    def refused(*_, **__):
        raise PermissionError("Permission denied")

    monkeypatch.setattr(tempfile, "TemporaryFile", refused)
    first, paths = files
    second, hits = run(agent, batch, obs, tmp_path)
    assert hits >= len(programs(paths))
    jax.tree.map(np.testing.assert_array_equal, first, second)
    assert "Permission denied" in configure("cpu", cache_dir=str(tmp_path)).note


def test_what_was_not_used_for_longest_goes_first(tmp_path, monkeypatch):
    folder = cache.cache_folder(str(tmp_path))
    folder.mkdir()
    for age in range(5):
        path = folder / f"jit_reverie_train-{age}-cache"
        path.write_bytes(bytes(1000))
        os.utime(path, (1e9 - age, 1e9 - age))
    monkeypatch.setattr(cache, "LIMIT", 3000)
    configure("cpu", cache_dir=str(tmp_path))
    configure("cpu", cache_dir="off")
    assert sorted(path.name[-7] for path in folder.iterdir()) == ["0", "1", "2"]


def test_cache_goes_to_the_users_cache_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    folder = cache.cache_folder("")
    assert folder.parent == tmp_path / "reverie" / "compiled"
    assert jax.__version__ in folder.name
    assert cache.cache_folder(str(tmp_path / "mine")).parent == tmp_path / "mine"
    assert cache.cache_folder("off") is None
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path / "jax"))
    assert cache.cache_folder("").parent == tmp_path / "jax"
    assert cache.cache_folder(str(tmp_path / "mine")).parent == tmp_path / "mine"
    assert cache.cache_folder("off") is None


def test_programs_are_the_same_in_a_process_with_64_bits(agent, placement, batch, obs):
    def results():
        learner = Learner(agent, placement=placement, seed=3)
        policy = Policy(agent, learner.acting(), device=placement.policy, seed=3)
        acted = policy.act(policy.init(2), obs)[1:]
        learner.update(batch)
        learner.load(learner.arrays())
        learner.update(batch)
        return acted, learner.report(batch), learner.arrays()

    expected = results()
    jax.config.update("jax_enable_x64", True)
    try:
        jax.tree.map(np.testing.assert_array_equal, expected, results())
    finally:
        jax.config.update("jax_enable_x64", False)
