"""Run folders of others, and damaged ones: what they hold is data, and never a traceback."""

import contextlib
import json
import pathlib
import re
import shutil
import struct
import sys
import types
import warnings
import zlib

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import reverie
from reverie.actors.random_policy import RandomPolicy
from reverie.cli import main
from reverie.errors import ConfigError
from reverie.learner.checkpoints import checkpoint
from reverie.learner.checkpoints.checkpoint import Checkpointer, CheckpointError
from reverie.learner.placement.hosts import Hosts
from reverie.replay.files import format
from reverie.replay.files.format import DamagedFile
from reverie.run.environments.source import EnvSource
from reverie.run.parts import build, experience, state
from reverie.run.parts.ratio import Ratio
from reverie.run.parts.shutdown import Shutdown
from reverie.run.parts.together import Together
from reverie.run.saved.folder import open_run
from reverie.run.saved.space_file import read_spaces
from reverie.track.pictures.curve import learning_curve


@pytest.fixture(autouse=True)
def elsewhere(tmp_path_factory, monkeypatch):
    """Another user, so that no folder is this user's, with a module that must not be imported."""
    folder = tmp_path_factory.mktemp("elsewhere")
    monkeypatch.setenv("XDG_STATE_HOME", str(folder))
    (folder / "evil.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(str(folder))
    yield
    assert "evil" not in sys.modules


def edit(root, old, new):
    path = root / "config.yaml"
    content = path.read_text()
    assert old in content
    path.write_text(content.replace(old, new))


ATTACKS = [
    ("task: gym_CartPole-v1", "task: gym_evil:Env-v0"),
    ("task: gym_CartPole-v1", "task: dm_evil:make"),
    ("task: gym_CartPole-v1", "task: evil:Env"),
    ("kwargs: {}", "kwargs: {env_id: 'evil:Env-v0'}"),
]


@pytest.mark.parametrize("command", ["eval", "train"])
@pytest.mark.parametrize(("old", "new"), ATTACKS)
def test_no_command_runs_what_a_folder_names(copied, capsys, command, old, new):
    edit(copied, old, new)
    assert main([command, "--logdir", str(copied)]) == 2
    error = capsys.readouterr().err
    assert "evil" in error
    assert "--trust" in error
    assert error.count("\n") == 1


def test_an_encoder_that_a_folder_names_is_not_loaded(copied):
    edit(copied, "typ: simple", "typ: evil:Encoder")
    # The decoder has no such option.
    edit(copied, "  dec:\n    typ: evil:Encoder", "  dec:\n    typ: simple")
    with pytest.raises(ConfigError, match=r"agent\.enc\.typ 'evil:Encoder'.*trust=True"):
        reverie.load(copied)


def test_an_agent_acts_without_the_environment_that_its_folder_names(copied):
    edit(copied, "task: gym_CartPole-v1", "task: gym_evil:Env-v0")
    agent = reverie.load(copied)
    action, _ = agent.policy(np.zeros(4, np.float32))
    assert action in (0, 1)
    for make in (agent.make_env, agent.evaluate):
        with pytest.raises(ConfigError, match="gym_evil:Env-v0"):
            make()
    assert agent.evaluate("CartPole-v1", episodes=1).scores


def test_modules_in_a_run_folder_are_not_found(copied, monkeypatch):
    monkeypatch.chdir(copied)
    monkeypatch.setattr(sys, "path", list(sys.path))
    assert main(["config"]) == 0
    assert str(copied) not in sys.path


def write_checkpoint(root, **meta):
    """Changes the meta.json of the newest checkpoint, and its checksum."""
    folder = max((root / "checkpoints").iterdir())
    content = {**json.loads((folder / "meta.json").read_text()), **meta}
    text = json.dumps(content).encode()
    (folder / "meta.json").write_bytes(text)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["meta.json"] = [len(text), zlib.crc32(text)]
    (folder / "manifest.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    "space",
    [
        {"kind": "Box", "low": 0, "high": 1, "shape": [1 << 20, 1 << 20], "dtype": "float32"},
        {"kind": "Box", "low": 0, "high": 1, "shape": [-4], "dtype": "float32"},
        {"kind": "Box", "low": 0, "high": 1, "shape": [4], "dtype": "O"},
        {"kind": "Box", "low": 0, "high": 1, "shape": [4], "dtype": "V1000000000000"},
        {"kind": "Discrete", "n": -1, "start": 0},
        {"kind": "MultiBinary", "shape": [1 << 50]},
        {"kind": "Other"},
        [],
        {},
    ],
)
def test_spaces_that_make_no_sense(copied, space):
    (copied / "spaces.json").write_text(json.dumps({"observation": space, "action": space}))
    with pytest.raises(ConfigError, match=r"spaces\.json is damaged"):
        reverie.load(copied)


class Agent:
    """Has the arrays of the run's agent, and takes whatever fits."""

    placement = types.SimpleNamespace(platform="cpu")

    def __init__(self, arrays):
        self._arrays = arrays

    @property
    def array_names(self):
        return {*self._arrays}

    def load(self, arrays, counters, held):
        for name, value in arrays.items():
            if value.shape != self._arrays[name].shape:
                raise ValueError(name)


@pytest.fixture(scope="module")
def reader(finished, tmp_path_factory):
    """Reads all that commands read of a copy of a run folder, but for making networks of it."""
    root = pathlib.Path(shutil.copytree(finished.logdir, tmp_path_factory.mktemp("x") / "run"))
    _, config, saved = open_run(finished.logdir)
    assert not saved.code
    source = EnvSource(config.task, config.env)
    spaces = source.spaces()
    latents = build.agent(config, spaces.obs, spaces.act, "cpu").latent_spaces
    keys = {**spaces.obs, **spaces.act}
    budget = experience.budget(config, keys, latents, root / "replay")
    arrays = Checkpointer(root / "checkpoints").restore()
    assert arrays

    def read(name):
        folder, found, _ = open_run(root)
        if name.endswith(".jsonl"):
            learning_curve(root, output=root.parent / "curve.png", title=found.task)
        read_spaces(folder.spaces)
        if name not in ("checkpoints", "replay"):
            return
        if name == "checkpoints":
            checkpoint.newest(root)
        with (
            contextlib.closing(experience.replay(config, keys, latents, budget)) as replay,
            experience.batches(config, replay) as batches,
        ):
            agent, ratio = Agent(arrays.arrays), Ratio(1.0, 16)
            policy, stop = RandomPolicy(spaces.act, 0), Shutdown()
            parts = (folder, keys, agent, policy, replay, batches, ratio)
            alone = Together(Hosts(), stop)
            state.restore(state.Run(config, source, stop, *parts, config, alone))
            if replay.ready(2):
                batches.next()

    return root, read


HARM = ("flip", "cut", "empty", "swap", "word", "remove")
WORDS = (b"evil:Env", b"-1", b"1e999", b"99999999999999999999", b"null", b"[]", b"{}", b'""')


def harm(path, files, kind, where, value):
    """Damages one file; `where` from 0 to 1 says at which place."""
    data = path.read_bytes()
    at = int(where * max(0, len(data) - 1))
    if kind == "remove":
        path.unlink()
    elif kind == "flip" and data:
        path.write_bytes(data[:at] + bytes([data[at] ^ (1 + value % 255)]) + data[at + 1 :])
    elif kind == "swap":
        path.write_bytes(files[value % len(files)].read_bytes())
    elif kind == "word":
        # In place of the number, word or name there, where the file is a text.
        found = [*re.finditer(rb"[\w.+-]+", data)] or [re.match(b"", data)]
        hit = found[int(where * (len(found) - 1))]
        word = WORDS[value % len(WORDS)]
        path.write_bytes(data[: hit.start()] + word + data[hit.end() :])  # type: ignore[union-attr]
    else:
        path.write_bytes(data[:at] if kind == "cut" else b"")


def damaged_folders(examples):
    def decorate(test):
        fuzz = settings(
            max_examples=examples,
            deadline=None,
            derandomize=True,
            suppress_health_check=[HealthCheck.function_scoped_fixture],
        )
        where = {"which": st.integers(0, 999), "value": st.integers(0, 999)}
        return fuzz(given(kind=st.sampled_from(HARM), where=st.floats(0, 1), **where)(test))

    return decorate


def check(reader, kind, which, where, value):
    root, read = reader
    files = sorted(path for path in root.rglob("*") if path.is_file())
    path = files[which % len(files)]
    before = path.read_bytes()
    failure = None
    try:
        harm(path, files, kind, where, value)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            read(path.relative_to(root).parts[0])
    except Exception as error:
        failure = error
    finally:
        path.write_bytes(before)
    # The command explains that there is nothing to draw.
    nothing = kind == "remove" and path.name == "scores.jsonl"
    own = failure is None or type(failure).__module__.startswith("reverie.")
    assert own or (nothing and isinstance(failure, FileNotFoundError)), (path, failure)


@damaged_folders(100)
def test_a_damaged_file_is_explained_or_skipped(reader, kind, which, where, value):
    check(reader, kind, which, where, value)


@pytest.mark.slow
@damaged_folders(5000)
def test_many_damaged_files_are_explained_or_skipped(reader, kind, which, where, value):
    check(reader, kind, which, where, value)


CHECKSUMMED = {
    "steps": [-1, "x", None, 1.5],
    "seconds": ["x", None, []],
    "ratio": ["x", None],
    "achievements": [[], {"x": 1}],
    "counters": [{"updates": -1}, {"updates": "x"}, 3],
}


@pytest.mark.parametrize(("key", "value"), [(k, v) for k, vs in CHECKSUMMED.items() for v in vs])
def test_counts_that_make_no_sense_although_their_checksum_is_right(reader, key, value):
    root, read = reader
    folder = max((root / "checkpoints").iterdir())
    before = {name: (folder / name).read_bytes() for name in ("meta.json", "manifest.json")}
    try:
        write_checkpoint(root, **{key: value})
        with pytest.raises(CheckpointError):
            read("checkpoints")
    finally:
        for name, content in before.items():
            (folder / name).write_bytes(content)


ENTRIES = [
    {"dtype": "O"},
    {"dtype": "V8"},
    {"dtype": 3},
    {"shape": [1 << 50]},
    {"shape": [-1]},
    {"shape": "x"},
    {"start": -1},
    {"start": 1 << 70},
    {"crc": None},
    {"codec": "lz4", "rows": 0, "bounds": [0]},
    {"codec": "lz4", "rows": 8, "bounds": [0, 1 << 60]},
    {"codec": "os.system", "rows": 8, "bounds": []},
]


@pytest.mark.parametrize("entry", ENTRIES, ids=str)
def test_arrays_of_replay_that_cannot_be(reader, entry):
    root, read = reader
    path = min((root / "replay").glob("*.chunk"))
    before = path.read_bytes()
    magic, size, _ = struct.unpack_from("<8sII", before)
    content = json.loads(before[16 : 16 + size])
    next(iter(content["arrays"].values())).update(entry)
    header = json.dumps(content).encode()
    rest = before[16 + size :]
    path.write_bytes(struct.pack("<8sII", magic, len(header), zlib.crc32(header)) + header + rest)
    try:
        with pytest.raises(DamagedFile):
            format.read(path)
        with contextlib.suppress(CheckpointError):
            read("replay")
    finally:
        path.write_bytes(before)
