"""Compiled programs in files."""

import os
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from reverie.learner import store as module
from reverie.learner.store import ProgramStore

SPEC = ({"x": jax.ShapeDtypeStruct((3,), np.float32)},)
INPUT = {"x": np.arange(3, dtype=np.float32)}
CPU = jax.devices("cpu")[:1]


@pytest.fixture
def store(tmp_path):
    return ProgramStore(tmp_path)


def save(store, factor):
    """Puts a program that multiplies into the store; returns its name."""
    name = f"{factor:032.0f}"
    store.save(name, jax.jit(lambda inputs: {"y": factor * inputs["x"]}).lower(*SPEC).compile())
    return name


def test_a_loaded_program_computes_the_same(store):
    two, three = save(store, 2.0), save(store, 3.0)
    again = ProgramStore(store.folder)
    assert again.has(two)
    assert again.load(two, SPEC, CPU)(INPUT)["y"].tolist() == [0, 2, 4]
    assert again.load(three, SPEC, CPU)(INPUT)["y"].tolist() == [0, 3, 6]


def test_arguments_may_be_donated(store):
    inputs = (SPEC[0]["x"], SPEC[0]["x"])
    store.save("name", jax.jit(lambda x, y: x + y, donate_argnums=0).lower(*inputs).compile())
    donated = jnp.ones(3)
    assert store.load("name", inputs, CPU)(donated, INPUT["x"]).tolist() == [1, 2, 3]
    assert donated.is_deleted()


def test_what_is_not_there_is_none(store):
    assert store.load(None, SPEC, CPU) is None
    assert store.load("0" * 32, SPEC, CPU) is None
    assert store.find(None) is None
    assert store.find("0" * 32) is None


def test_a_program_is_found_by_its_fingerprint(store):
    store.link("print", "0" * 32)
    store.link(None, "1" * 32)
    assert store.find("print") == "0" * 32


@pytest.mark.parametrize("content", [b"", b"\0" * 32, b"\xff" * 32, b"../" + b"0" * 29])
def test_a_damaged_link_leads_nowhere_and_goes(store, content):
    store.link("print", "0" * 32)
    (path,) = store.folder.iterdir()
    path.write_bytes(content)
    assert store.find("print") is None
    save(store, 2.0)
    assert not path.exists()


@pytest.mark.parametrize(
    "damage", [lambda c: c[:-7], lambda c: c[:99] + b"?" + c[100:], lambda c: b""]
)
def test_a_damaged_program_is_not_used_and_goes(store, damage):
    name = save(store, 2.0)
    (path,) = store.folder.iterdir()
    path.write_bytes(damage(path.read_bytes()))
    assert store.load(name, SPEC, CPU) is None
    assert not store.has(name)


def test_a_program_for_another_structure_is_not_used(store):
    name = save(store, 2.0)
    assert store.load(name, ({"z": SPEC[0]["x"]},), CPU) is None
    assert store.has(name)


def test_the_programs_that_were_not_used_for_longest_are_forgotten(store, monkeypatch):
    monkeypatch.setattr(module, "CAPACITY", 2)
    names = [save(store, 1.0), save(store, 2.0)]
    for age, name in zip((200, 100), names, strict=True):
        store.link(f"print-{name}", name)
        (path,) = store.folder.glob(f"{name}.*m")
        os.utime(path, (path.stat().st_atime - age, path.stat().st_mtime - age))
    store.load(names[0], SPEC, CPU)
    newest = save(store, 3.0)
    assert [store.has(name) for name in (*names, newest)] == [True, False, True]
    assert store.find(f"print-{names[0]}") == names[0]
    assert store.find(f"print-{names[1]}") is None


def test_what_a_killed_process_left_is_removed_later(store):
    old, new = store.folder / "a.program.1-2.tmp", store.folder / "b.program.3-4.tmp"
    for path, age in ((old, 7200), (new, 0)):
        path.touch()
        os.utime(path, (time.time() - age,) * 2)
    save(store, 2.0)
    assert [old.exists(), new.exists()] == [False, True]


def test_a_folder_that_cannot_be_written_is_an_error_for_programs_alone(store, monkeypatch):
    def refuse(*args):
        raise OSError("no space")

    monkeypatch.setattr(module.os, "replace", refuse)
    store.link("print", "0" * 32)
    assert store.find("print") is None
    with pytest.raises(OSError, match="no space"):
        save(store, 2.0)
    assert list(store.folder.iterdir()) == []
