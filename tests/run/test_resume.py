"""What a resume leaves alone, and what it finds."""

import json
import os
import re
import shutil
import zlib
from typing import ClassVar

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces as gs

import reverie
from reverie.config.saved_runs.foreign import read_config
from reverie.errors import ConfigError
from reverie.learner.checkpoints.checkpoint import CheckpointError
from reverie.run.scripts import launch

IDLE = ["--run.train_ratio", "0"]
"""No update in bfloat16 is compiled: another test here makes some."""


def content(folder):
    """Every file of a folder with its bytes."""
    return {
        path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


class Plant(gymnasium.Env):
    """Episodes of ten steps, with an observation of a size of choice, or that of CartPole."""

    action_space = gs.Discrete(2)

    def __init__(self, shape=(4,), low=-1, actions=2):
        self.observation_space = gs.Box(low, 1, tuple(shape), np.float32)
        self.action_space = gs.Discrete(actions)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.time = 0
        return np.zeros(self.observation_space.shape, np.float32), {}

    def step(self, action):
        self.time += 1
        return np.zeros(self.observation_space.shape, np.float32), 1.0, self.time >= 10, False, {}


def options(cache, logdir, **more):
    base = {"logdir": str(logdir), "jax.cache_dir": cache, "logger.outputs": ["jsonl"]}
    return {"configs": "debug", **base, "run.steps": 30, "run.report_every": 0, **more}


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"shape": (3,)}, r"observation 'obs': saved Box.*\(4,\).*, now Box.*\(3,\)"),
        ({"actions": 3}, r"action 'action': saved Discrete\(2\), now Discrete\(3\)"),
    ],
)
def test_another_environment_is_refused_and_changes_no_file(cache, tmp_path, change, named):
    class Changing(Plant):
        settings: ClassVar = {}

        def __init__(self):
            super().__init__(**self.settings)

    reverie.train(Changing, **options(cache, tmp_path))
    before = content(tmp_path)
    Changing.settings.update(change)
    with pytest.raises(ConfigError, match=named):
        reverie.train(Changing, **options(cache, tmp_path, **{"run.steps": 60}))
    assert content(tmp_path) == before


def test_other_bounds_of_an_observation_are_no_other_environment(tmp_path):
    class Changing(Plant):
        settings: ClassVar = {}

        def __init__(self):
            super().__init__(**self.settings)

    more = {"random_agent": True}
    reverie.train(Changing, **options("off", tmp_path, **more))
    Changing.settings["low"] = -2
    assert (
        reverie.train(Changing, **options("off", tmp_path, **more, **{"run.steps": 50})).steps == 50
    )


@pytest.mark.parametrize("switches", [2, (2,), (2, 3)])
def test_switches_are_the_same_after_a_resume(switches, tmp_path):
    class Switched(Plant):
        def __init__(self):
            super().__init__()
            self.action_space = gs.MultiBinary(switches)

    more = {"random_agent": True}
    reverie.train(Switched, **options("off", tmp_path, **more))
    again = reverie.train(Switched, **options("off", tmp_path, **more, **{"run.steps": 50}))
    assert again.steps == 50


def test_texts_do_not_matter_for_a_resume(tmp_path):
    class Mission(gs.Text):
        """As MiniGrid has one: equal to none but its own kind."""

        def __eq__(self, other):
            return isinstance(other, Mission)

        __hash__ = gs.Text.__hash__

    class Spoken(Plant):
        def __init__(self):
            super().__init__()
            self.observation_space = gs.Dict({"obs": gs.Discrete(3), "mission": Mission(80)})

        def reset(self, **kwargs):
            return {"obs": 1, "mission": "go"}, {}

        def step(self, action):
            return {"obs": 1, "mission": "go"}, 1.0, False, False, {}

    more = {"random_agent": True}
    reverie.train(Spoken, **options("off", tmp_path, **more))
    again = reverie.train(Spoken, **options("off", tmp_path, **more, **{"run.steps": 50}))
    assert again.steps == 50


@pytest.mark.parametrize("damaged", ["checkpoints", "replay"])
def test_what_cannot_be_restored_is_left_as_it_is(make_config, copied, damaged):
    if damaged == "checkpoints":
        for path in (copied / "checkpoints").glob("*/meta.json"):
            path.write_text("{}")
    else:
        # Replay of another run, whose steps have other keys.
        shutil.rmtree(copied / "replay")
        launch(make_config(copied / "x", "--task", "dummy_disc", "--run.steps", "20",
                           "--random_agent", "true"))  # fmt: skip
        (copied / "x" / "replay").rename(copied / "replay")
    before = content(copied)
    with pytest.raises(CheckpointError) as caught:
        launch(make_config(copied, "--run.steps", "200"))
    assert "delete" not in str(caught.value)
    assert content(copied) == before


def test_another_format_is_refused_and_its_replay_is_of_use(make_config, copied, tmp_path, capfd):
    for meta in copied.glob("checkpoints/*/meta.json"):
        pretend(meta, format=1)
    before = content(copied)
    with pytest.raises(CheckpointError, match=r"has format 1.*in another logdir.*replay") as caught:
        launch(make_config(copied, "--run.steps", "200"))
    assert "\n" not in str(caught.value)
    with pytest.raises(CheckpointError, match="has format 1"):
        reverie.load(copied)
    assert content(copied) == before
    new = tmp_path / "new"
    launch(make_config(new, "--run.steps", "20"))
    shutil.rmtree(new / "replay")
    (copied / "replay").rename(new / "replay")
    launch(make_config(new, "--run.steps", "60", "--logger.outputs", "terminal"))
    text = " ".join(capfd.readouterr().out.split())
    assert "Resumed at 20 environment steps" in text
    assert int(re.search(r"with (\d+) steps in replay", text)[1]) > 100


def test_replay_without_a_checkpoint_is_set_aside(make_config, copied, capfd):
    shutil.rmtree(copied / "checkpoints")
    (copied / "notes.jsonl").write_bytes(b"")
    before = content(copied / "replay")
    words = ["--run.steps", "20", "--logger.outputs", "terminal"]
    assert launch(make_config(copied, *words)).steps == 20
    (aside,) = copied.glob("replay-*")
    assert content(aside) == before
    text = " ".join(capfd.readouterr().out.split())
    assert f"was kept in {copied}: {aside.name}, metrics-" in text
    assert len(list(copied.glob("scores-*.jsonl"))) == 1
    assert not list(copied.glob("notes-*.jsonl"))  # There was nothing in it.


def test_a_run_that_has_its_steps_already_says_so(tmp_path, notes):
    said = "the run has 40 steps, and run.steps, which counts all of them, is 30."
    for steps in (40, 30):
        assert not any(said in text for text in notes.texts)
        more = {"random_agent": True, "run.steps": steps, "logdir": tmp_path / "run"}
        reverie.train("CartPole-v1", configs="debug", sinks=[notes], **more)
    assert any(said in text for text in notes.texts)


def test_a_run_without_its_options_says_so(make_config, copied, capfd):
    words = ["--run.steps", "150", "--logger.outputs", "terminal"]
    assert launch(make_config(copied, *words)).steps == 150
    unknown = f"There is no {copied}/config.yaml, so the options of this run were not compared"
    assert unknown not in " ".join(capfd.readouterr().out.split())
    (copied / "config.yaml").unlink()
    words[1] = "180"
    assert launch(make_config(copied, *words)).steps == 180
    assert unknown in " ".join(capfd.readouterr().out.split())


def test_a_run_without_its_replay_goes_on(make_config, copied, capfd):
    shutil.rmtree(copied / "replay")
    words = ["--run.steps", "150", "--logger.outputs", "terminal"]
    assert launch(make_config(copied, *words)).steps == 150
    assert "with an empty replay" in capfd.readouterr().out


def test_the_same_command_resumes_whatever_the_settings_are(cache, tmp_path):
    gymnasium.register("Plant-v0", entry_point=Plant)
    more = {"random_agent": True, "env.gym.kwargs": {"shape": (2, 3), "low": np.float32(-2)}}
    for steps in (30, 60):
        outcome = reverie.train(
            "Plant-v0", **options(cache, tmp_path, **{**more, "run.steps": steps})
        )
        assert outcome.steps == steps


def test_a_relative_folder_stays_where_it_was_asked_for(cache, tmp_path, monkeypatch):
    (tmp_path / "simulator").mkdir()

    class Mover(Plant):
        def __init__(self):
            super().__init__()
            os.chdir(tmp_path / "simulator")

    monkeypatch.chdir(tmp_path)
    outcome = reverie.train(Mover, **options(cache, "runs/one", random_agent=True))
    assert outcome.logdir == tmp_path / "runs" / "one"
    assert not list((tmp_path / "simulator").iterdir())


def test_environments_do_not_play_the_worlds_of_the_start_again(tmp_path):
    seeds = []

    class Seeded(Plant):
        def reset(self, *, seed=None, options=None):
            if seed is not None:
                seeds.append(seed)
            return super().reset(seed=seed)

    more = {"random_agent": True, "run.envs": 2, "run.env_backend": "sync"}
    for steps in (20, 40, 60):
        reverie.train(Seeded, **options("off", tmp_path, **{**more, "run.steps": steps}))
    assert len(seeds) == len(set(seeds)) == 6
    reverie.train(Seeded, **options("off", tmp_path / "again", **more))
    assert seeds[6:] == seeds[:2]


def test_precision_stays_and_another_kind_of_device_is_said(make_config, tmp_path, capfd):
    words = ["--logger.outputs", "terminal", "--jax.compute_dtype", "bfloat16"]
    launch(make_config(tmp_path, "--run.steps", "30", *words))
    meta = next((tmp_path / "checkpoints").glob("*/meta.json"))
    assert json.loads(meta.read_text())["platform"] == "cpu"
    pretend(meta, platform="gpu")
    # By default a CPU computes in float32.
    assert launch(make_config(tmp_path, "--run.steps", "60", *words[:2])).steps == 60
    assert read_config(tmp_path / "config.yaml").jax.compute_dtype == "bfloat16"
    text = " ".join(capfd.readouterr().out.split())
    assert "computed on a gpu so far and goes on on a cpu, with the same precision" in text
    with pytest.raises(ConfigError, match=r"jax\.compute_dtype: saved 'bfloat16', now 'float32'"):
        launch(make_config(tmp_path, "--jax.compute_dtype", "float32"))


def test_a_run_that_did_not_save_its_precision_asks_for_it(make_config, tmp_path):
    words = ["--run.steps", "30", *IDLE, "--jax.compute_dtype", "bfloat16"]
    launch(make_config(tmp_path, *words))
    path = tmp_path / "config.yaml"
    path.write_text(path.read_text().replace("compute_dtype: bfloat16", "compute_dtype: auto"))
    with pytest.raises(CheckpointError, match=r"Resume with --jax\.compute_dtype bfloat16"):
        launch(make_config(tmp_path, "--run.steps", "60", *IDLE))
    words[1] = "60"
    assert launch(make_config(tmp_path, *words)).steps == 60


def pretend(meta, **values):
    """Changes a checkpoint as if it had been saved so."""
    meta.write_text(json.dumps({**json.loads(meta.read_text()), **values}))
    manifest = meta.parent / "manifest.json"
    known = json.loads(manifest.read_text())
    known["meta.json"] = [meta.stat().st_size, zlib.crc32(meta.read_bytes())]
    manifest.write_text(json.dumps(known))
