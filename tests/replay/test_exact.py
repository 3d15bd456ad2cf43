"""A replay that is loaded as of a marked save is the one that was saved."""

import shutil

import numpy as np
import pytest
from write_back import write_back

from reverie.replay.files.storage import DiskStorage, RamStorage
from reverie.replay.selectors.mixture import Mixture
from reverie.replay.selectors.prioritized import Prioritized
from reverie.replay.selectors.recency import Recency
from reverie.replay.selectors.uniform import Uniform


@pytest.fixture
def storage():
    return RamStorage


def mixture():
    return Mixture({"u": (Uniform(), 0.2), "p": (Prioritized(), 0.5), "r": (Recency(), 0.3)})


def go_on(replay, fill, start):
    """What is drawn while steps are added and priorities and latents come back."""
    drawn = []
    for t in range(start, start + 60, 4):
        fill(replay, 2, 4, start=t)
        batch, ids = replay.gather(replay.plan(5))
        drawn.append([ids.tolist(), *(batch[key].tolist() for key in sorted(batch))])
        latents = {
            key: np.full((5, 4, *shape), t % 4, dtype)
            for key in replay.layout.latents
            for dtype, shape in [replay.layout.specs[key]]
        }
        write_back(replay, ids, latents, np.full((5, 4), 1 + t % 7, np.float32))
    return drawn


@pytest.mark.parametrize("selector", [Uniform, mixture])
@pytest.mark.parametrize("kind", ["ram", "disk"])
def test_a_marked_save_is_gone_on_from_exactly(make_replay, fill, tmp_path, kind, selector):
    def make(folder):
        kinds = {"ram": RamStorage, "disk": lambda x: DiskStorage(x, folder, ram=1_000_000)}
        return make_replay(capacity=130, selector=selector(), storage=kinds[kind])

    replay = make(tmp_path / "run")
    go_on(replay, fill, 0)
    go_on(replay, fill, 60)
    replay.save(tmp_path / "run", "here").wait()
    shutil.copytree(tmp_path / "run", tmp_path / "copy")
    steps = replay.stats()["steps"]
    expected = go_on(replay, fill, 120)
    again = make(tmp_path / "copy")
    loaded = again.load(tmp_path / "copy", "here")
    assert loaded.exact
    assert loaded.steps == steps
    assert go_on(again, fill, 120) == expected
    sizes = ("ram_bytes", "disk_bytes", "bytes", "bytes_per_step")
    figures = [{k: x for k, x in r.stats().items() if k not in sizes} for r in (again, replay)]
    assert figures[0] == figures[1]


def test_rows_that_were_written_after_the_save_are_cut_off(make_replay, fill, tmp_path):
    replay = make_replay()
    fill(replay, 2, 21)
    replay.save(tmp_path, "here").wait()
    kept = (tmp_path / "state").read_bytes(), (tmp_path / "selector").read_bytes()
    fill(replay, 2, 9, start=21)
    replay.save(tmp_path, "later").wait()
    for name, content in zip(("state", "selector"), kept, strict=True):
        (tmp_path / name).write_bytes(content)
    assert make_replay().load(tmp_path).steps == 60
    assert not make_replay().load(tmp_path, "later").exact
    again = make_replay()
    assert again.load(tmp_path, "here").steps == 42
    fill(again, 2, 3, start=21)
    again.save(tmp_path).wait()
    assert make_replay().load(tmp_path).steps == 48


def test_streams_go_on_where_there_are_more_environments_now(make_replay, fill, tmp_path):
    replay = make_replay()
    fill(replay, 2, 21)
    replay.save(tmp_path, "here").wait()
    again = make_replay()
    assert again.load(tmp_path, "here").exact
    fill(again, 3, 4, start=21)
    assert again.stats()["items"] == 2 * (25 - 3) + 1
