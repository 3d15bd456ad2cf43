"""A selector that knows nothing of Reverie, as the example shows it."""

import importlib
import pathlib
import sys

import numpy as np
import pytest
from write_back import write_back

import reverie
from reverie.config.load import load
from reverie.errors import ConfigError
from reverie.replay.files.storage import RamStorage
from reverie.replay.selectors.base import Selector
from reverie.replay.selectors.mixture import Mixture
from reverie.replay.selectors.uniform import Uniform
from reverie.run.parts import experience

EXAMPLES = pathlib.Path(__file__).parents[2] / "examples"


@pytest.fixture
def own(monkeypatch):
    """The module of the example, where a run finds it."""
    monkeypatch.setattr(sys, "path", [str(EXAMPLES), *sys.path])
    return importlib.import_module("own_selector")


@pytest.fixture
def storage():
    return RamStorage


def test_it_draws_the_newest_sequences_alone(own, make_replay, fill, monkeypatch):
    monkeypatch.setattr(own, "COUNT", 3)
    replay = make_replay(online=False, capacity=40, chunksize=4, selector=own.Newest())
    assert isinstance(own.Newest(), Selector)
    fill(replay, 1, 90)
    batch, ids = replay.gather(replay.plan(60))
    assert set(batch["action"][:, 0].tolist()) == {84, 85, 86}
    write_back(replay, ids, {}, priority=np.ones((60, 4), np.float32))
    assert replay.stats()["items"] == len(replay)


@pytest.mark.parametrize("mixed", [False, True])
def test_its_draws_go_on_exactly_after_a_restart(own, make_replay, fill, tmp_path, mixed):
    def make():
        newest = own.Newest()
        selector = Mixture({"own": (newest, 0.5), "u": (Uniform(), 0.5)}) if mixed else newest
        return make_replay(capacity=60, selector=selector)

    replay = make()
    for start in range(0, 90, 7):
        fill(replay, 2, 7, start=start)
        replay.plan(3)
    replay.save(tmp_path, "here").wait()
    again = make()
    assert again.load(tmp_path, "here").exact
    assert [again.plan(9).starts for _ in range(5)] == [replay.plan(9).starts for _ in range(5)]


def test_a_run_draws_with_the_selector_that_an_option_names(own, tmp_path, monkeypatch):
    drawn, sample = [], own.Newest.sample

    def count(self, number, *args, **kwargs):
        drawn.append(number)
        return sample(self, number, *args, **kwargs)

    monkeypatch.setattr(own.Newest, "sample", count)
    options = {"replay.selector": "own_selector:Newest", "replay.online": False, "run.steps": 60}
    outcome = reverie.train("CartPole-v1", configs="debug", logdir=tmp_path / "run", **options)
    assert len(drawn) >= outcome.updates > 0


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("no_such_module:Newest", "cannot load 'no_such_module:Newest'"),
        ("own_selector:Oldest", "cannot load 'own_selector:Oldest'"),
        ("collections:Counter", "'collections:Counter' is no selector, it has no insert, remove"),
    ],
)
@pytest.mark.usefixtures("own")
def test_what_is_no_selector_is_refused(name, words):
    config = load(["--configs", "debug", "--replay.selector", name])
    with pytest.raises(ConfigError, match=words):
        experience.selector(config.replay, 1)


def test_half_of_the_protocol_of_priorities_is_refused(make_replay):
    class Half(Uniform):
        def prioritize(self, runs):
            raise AssertionError

    with pytest.raises(TypeError, match="Half has the method prioritize, so it needs connect"):
        make_replay(selector=Half())


def test_shares_of_other_selectors_are_refused_beside_it():
    argv = ["--configs", "debug", "--replay.selector", "own_selector:Newest"]
    with pytest.raises(ConfigError, match=r"replay\.fracs are the shares"):
        load([*argv, "--replay.fracs.uniform", "0", "--replay.fracs.recency", "1"])
