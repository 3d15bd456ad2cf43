"""Suites that other packages announce, and what is said of those that cannot be used."""

import importlib.metadata
import sys
import types

import pytest

from reverie import catalog
from reverie.catalog import Suite
from reverie.envs.errors import MissingPackageError, OptionError, UnknownTaskError
from reverie.envs.registry import make, split, tasks
from reverie.envs.suites import dummy
from reverie.options import Int, Section, option


class Options(Section):
    length: Int = option(7, "Steps per episode.", ge=1)


@pytest.fixture
def announce(monkeypatch):
    """Announces suites by name, as installed packages would."""

    def install(**found):
        module = types.ModuleType("other_package")
        module.make = lambda name, length: dummy.make(name, length=length)
        module.tasks = dummy.tasks
        monkeypatch.setitem(sys.modules, "other_package", module)
        points = []
        for name, suite in found.items():
            setattr(module, name, suite)
            points.append(importlib.metadata.EntryPoint(name, f"other_package:{name}", "x"))
        monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: points)
        catalog.announced.cache_clear()

    yield install
    catalog.announced.cache_clear()


def test_a_suite_of_another_package_makes_environments_with_its_defaults(announce):
    announce(other=Suite("other", about="as dummy", options=Options))
    assert split("other_disc")[0].about == "as dummy"
    assert tasks("other") == dummy.tasks()
    env = make("other_disc")
    env.reset()
    action = env.action_space.sample()
    assert [env.step(action)[3] or env.step(action)[2] for _ in range(3)] == [False] * 3
    with pytest.raises(TypeError, match=r"env\.other\.lenght.*'length'"):
        make("other_disc", {"lenght": 3})
    with pytest.raises(OptionError, match=r"env\.other\.length = 0: expected an integer >= 1\."):
        make("other_disc", {"length": 0})
    with pytest.raises(UnknownTaskError, match=r"other_disc"):
        make("other_")
    with pytest.raises(UnknownTaskError, match="Did you mean other"):
        make("othr_disc")


@pytest.mark.parametrize(
    ("name", "suite", "reason"),
    [
        ("other", "a text", "is no reverie.catalog.Suite but str"),
        ("other", Suite("another"), "its Suite is named 'another'"),
        ("Other", Suite("Other"), "of small letters and digits"),
        ("gym", Suite("gym"), "Reverie has a suite of this name"),
        ("custom", Suite("custom"), "Reverie has a suite of this name"),
        ("other", Suite("other", options=dict), "its options dict are no reverie.options.Section"),
    ],
)
def test_one_that_cannot_be_used_is_left_out_with_a_reason(announce, caplog, name, suite, reason):
    announce(**{name: suite})
    found, broken = catalog.announced()
    assert not found
    assert reason in broken[name]
    assert f"The suite {name!r} of other_package:{name} cannot be used" in caplog.text
    assert split("gym_CartPole-v1")[0] is catalog.SUITES["gym"]
    if name == "other":
        with pytest.raises(MissingPackageError, match="cannot be used"):
            make("other_disc")


def test_a_package_that_cannot_be_imported_is_left_out(announce, monkeypatch):
    announce(other=Suite("other"))
    monkeypatch.setitem(sys.modules, "other_package", None)
    assert "ModuleNotFoundError" in catalog.announced()[1]["other"]


def test_options_are_made_of_what_a_file_can_hold():
    with pytest.raises(TypeError, match=r"Wrong\.place is no type of an option"):

        class Wrong(Section):
            place: object = option(None, "Anywhere.")
