"""Evaluations inside a run and at its end."""

import functools
import os
import signal
import sys
import threading
import types
from typing import cast

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces as gs

from reverie.actors import evaluate
from reverie.actors.random_policy import RandomPolicy
from reverie.config.load import load, load_saved
from reverie.config.saved_runs.foreign import read_run
from reverie.envs.vector.seeds import env_seed
from reverie.envs.vector.vector import VectorEnv
from reverie.envs.wrappers import wrap
from reverie.learner.learner import Learner
from reverie.replay.files import format
from reverie.replay.files.archive import path_of, serials
from reverie.run.environments.film import filmed
from reverie.run.environments.source import EnvSource
from reverie.run.eval_only import eval_only
from reverie.run.parts import build
from reverie.run.parts.shutdown import Shutdown, Stopped
from reverie.run.parts.state import Run
from reverie.run.reports.evaluation import play
from reverie.run.scripts import launch
from reverie.spaces import Space
from reverie.track.logger import Logger
from reverie.track.sinks.base import OutputError
from reverie.track.sinks.jsonl import read_jsonl

ACTIONS = {"action": Space("discrete", (), "int32", (2,))}


class Worlds(gymnasium.Env):
    """Keeps the seeds of its resets; episodes have the given number of steps, 0 for no end."""

    # Shapes as in CartPole, so that the compiled programs are shared.
    observation_space = gs.Box(0, 1e9, (4,), np.float32)
    action_space = gs.Discrete(2)
    seeds = []  # noqa: RUF012
    opened = 0
    most = 0

    def __init__(self, steps=3):
        self.steps = steps
        Worlds.opened += 1
        Worlds.most = max(Worlds.most, Worlds.opened)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        if seed is not None:
            Worlds.seeds.append(seed)
        self.time = 0
        return np.zeros(4, np.float32), {}

    def step(self, action):
        self.time += 1
        return np.full(4, self.time, np.float32), 1.0, self.time == self.steps, False, {}

    def close(self):
        Worlds.opened -= 1


class Endless(Worlds):
    def __init__(self):
        super().__init__(0)


@pytest.fixture(autouse=True)
def fresh():
    Worlds.seeds, Worlds.opened, Worlds.most = [], 0, 0


@pytest.fixture
def make(tmp_path):
    """A run of random actions in such an environment."""

    def run(factory, *words, logdir=tmp_path / "run"):
        settings = load([
            "--configs", "debug", "--task", "custom_worlds", "--random_agent", "true",
            "--logger.outputs", "terminal", "jsonl", "--logdir", str(logdir), *words,
        ])  # fmt: skip
        return launch(settings, EnvSource("custom_worlds", settings.env, factory))

    return run


def evaluation(logger, shutdown, steps=3, episodes=2):
    envs = VectorEnv([lambda: Worlds(steps)], "sync", seeds=0)
    policy = RandomPolicy(ACTIONS, 0)
    run = types.SimpleNamespace(policy=policy, logger=logger, shutdown=shutdown, learner=None)
    return play(cast(Run, run), envs, episodes, seed=0)


def test_each_evaluation_of_a_run_plays_other_episodes_and_runs_repeat_them(make, tmp_path):
    words = [
        "--script", "train_eval", "--run.steps", "60", "--run.envs", "1", "--run.eval_every",
        "1e-6", "--run.eval_eps", "2", "--run.final_eval_eps", "1",
    ]  # fmt: skip
    played = []
    for name in ("a", "b"):
        Worlds.seeds = []
        make(Worlds, *words, "--run.side_share", "1", logdir=tmp_path / name)
        played.append(Worlds.seeds)
    assert played[0] == played[1]
    # One seed of the training environment, two of every evaluation, one of the final one.
    assert len(played[0]) >= 1 + 2 * 10 + 1
    assert len(set(played[0])) == len(played[0])


def test_evaluations_after_a_resume_go_on_with_other_episodes(make):
    words = [
        "--script", "train_eval", "--run.envs", "1", "--run.eval_every", "1e-6",
        "--run.eval_eps", "1", "--run.side_share", "1",
    ]  # fmt: skip
    make(Worlds, *words, "--run.steps", "20")
    before, Worlds.seeds = Worlds.seeds[1:], []
    make(Worlds, *words, "--run.steps", "40")
    assert not set(before) & set(Worlds.seeds[1:])


def test_there_are_no_more_environments_than_episodes(make, capsys):
    words = ["--script", "train_eval", "--run.eval_every", "0", "--run.envs", "1"]
    made = []
    make(
        lambda: made.append(1) or Worlds(),
        *words, "--run.steps", "5", "--run.eval_envs", "4", "--run.eval_eps", "3",
    )  # fmt: skip
    assert sum(made) - 4 in (0, 1, 2)  # And temporary ones, to see the spaces.


def test_a_signal_ends_an_evaluation_and_the_episodes_under_way_are_left_out(notes):
    with Logger([notes], lambda: 0) as logger, Shutdown() as shutdown:
        threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGTERM)).start()
        with pytest.raises(Stopped):
            evaluation(logger, shutdown, steps=0)
        assert shutdown.requested == signal.SIGTERM


def test_the_time_of_a_run_ends_an_evaluation(notes):
    with Logger([notes], lambda: 0) as logger:
        shutdown = Shutdown()
        calls = iter([False] * 6 + [True] * 9)
        shutdown.late = lambda: next(calls)
        result = evaluation(logger, shutdown, steps=3, episodes=5)
    assert result is not None
    assert result.lengths == (3,)
    assert "after 1 of 5 episodes of an evaluation" in notes.texts[-1]


def test_an_evaluation_without_an_end_is_told(monkeypatch, notes):
    monkeypatch.setattr(evaluate, "PATIENCE", 0.05)
    with Logger([notes], lambda: 0) as logger:
        shutdown = Shutdown()
        shutdown.late = lambda: len(notes.texts) > 0
        assert evaluation(logger, shutdown, steps=0) is None
    assert "No episode of an evaluation has ended for 0.05 seconds (longest" in notes.texts[0]
    assert "run.eval_max_steps" in notes.texts[0]


def test_long_episodes_of_evaluations_can_be_cut(make, capsys):
    words = ["--run.steps", "20", "--run.final_eval_eps", "3", "--run.eval_max_steps", "7"]
    words += ["--run.log_every", "1000"]  # A log in between says how long they are then.
    outcome = make(Endless, *words)
    assert outcome.evaluation.lengths == (7, 7, 7)
    assert outcome.evaluation.std_score == 0
    # Those of training are not.
    text = " ".join(capsys.readouterr().out.split())
    assert text.count("No episode has ended yet") == 1
    assert "No episode has ended yet (longest so far 9 steps), so there is no score." in text
    records = read_jsonl(outcome.logdir / "metrics.jsonl")
    assert [x["env/reward"] for x in records if "env/reward" in x] == [1.0]
    assert "Evaluating 3 episodes." in text


def test_the_time_of_a_run_is_over_before_its_final_evaluation(make, capsys):
    words = ["--run.steps", "1e9", "--run.duration", "0.3", "--run.final_eval_eps", "1"]
    outcome = make(Endless, *words)
    assert outcome.evaluation is None
    assert outcome.exit_code == 0
    text = capsys.readouterr().out
    assert "The time of the run is up (run.duration)" in text
    assert f"reverie eval --logdir {outcome.logdir}" in text


def test_only_one_environment_is_open_at_a_time(make):
    words = ["--run.steps", "20", "--run.envs", "1", "--run.eval_envs", "1"]
    outcome = make(Worlds, *words, "--run.final_eval_eps", "2")
    assert outcome.evaluation.lengths == (3, 3)
    assert Worlds.most == 1
    assert Worlds.opened == 0


def test_a_curve_that_cannot_be_drawn_costs_no_evaluation(make, monkeypatch, capsys):
    def draw(*args, **options):
        raise RuntimeError("latex could not be found")

    monkeypatch.setattr("reverie.run.reports.evaluation.learning_curve", draw)
    outcome = make(Worlds, "--run.steps", "20", "--run.final_eval_eps", "2")
    assert outcome.evaluation.lengths == (3, 3)
    assert "without it: RuntimeError: latex could not be found" in capsys.readouterr().out
    (*_, record) = read_jsonl(outcome.logdir / "metrics.jsonl")
    assert record["eval/episode/length"] == 3


def test_options_of_evaluations_that_there_are_not_are_told(make, capsys):
    make(Worlds, "--run.steps", "4", "--run.eval_every", "5", "--run.eval_max_steps", "9")
    text = " ".join(capsys.readouterr().out.split())
    assert "run.eval_every and run.eval_max_steps: without effect in script train" in text
    make(Worlds, "--run.steps", "8")
    assert "without effect" not in capsys.readouterr().out


def test_seeds_of_evaluations_are_no_seeds_of_environments():
    seeds = [build.eval_seed(1, number) for number in (None, 0, 1)]
    envs = [env_seed(seed, index) for seed in seeds for index in range(4)]
    assert len({*seeds, *envs}) == 15


def test_a_report_waits_for_its_program_beside_the_run(make_config, tmp_path, monkeypatch, undrawn):
    asked = []

    def ready(learner, kind, batch):
        asked.append(kind)
        return len(asked) > 5

    monkeypatch.setattr(Learner, "ready", ready)
    words = ["--run.steps", "60", "--run.report_every", "1e-6", "--run.log_every", "1e-6"]
    launch(make_config(tmp_path, *words, "--run.side_share", "1"))
    assert set(asked) == {"report"}
    records = read_jsonl(tmp_path / "metrics.jsonl")
    reported = [r["step"] for r in records if "report/loss/rew" in r]
    trained = [r["step"] for r in records if "train/loss/rew" in r]
    assert reported
    assert reported[0] >= trained[0] + 2 * 4


class Pictures(Worlds):
    metadata = {"render_modes": ["rgb_array"]}  # noqa: RUF012
    render_mode = "rgb_array"

    def render(self):
        return np.full((32, 48, 3), 20 * self.time, np.uint8)


def test_the_evaluation_at_the_end_is_filmed(make):
    words = ["--run.steps", "20", "--run.final_eval_eps", "3", "--run.final_eval_video", "true"]
    outcome = make(Pictures, *words)
    film = next(path for path in outcome.files if path.suffix in (".mp4", ".gif"))
    assert film.stat().st_size > 100
    assert outcome.evaluation
    assert len(outcome.evaluation.scores) == 3
    names = {key for record in read_jsonl(outcome.logdir / "metrics.jsonl") for key in record}
    assert not any("video" in name for name in names)


class NoDisplay(Worlds):
    def render(self):
        raise OSError("no display")


@pytest.mark.parametrize("env", [Worlds, NoDisplay])
def test_what_cannot_be_rendered_is_evaluated_without_a_film(make, capsys, env):
    words = ["--run.steps", "20", "--run.final_eval_eps", "2", "--run.final_eval_video", "true"]
    outcome = make(env, *words)
    assert outcome.evaluation
    assert len(outcome.evaluation.scores) == 2
    assert "The evaluation is not filmed: " in capsys.readouterr().out
    assert [path.name for path in outcome.files if path.stem == "evaluation"] == ["evaluation.json"]


class Flickering(Pictures):
    def render(self):
        if self.time == 2:
            raise OSError("the display is gone")
        return super().render()


def test_a_picture_that_cannot_be_drawn_costs_no_episode(caplog):
    make = functools.partial(filmed, lambda: wrap(Flickering()), lambda: wrap(Flickering()))
    with VectorEnv([make], seeds=0) as envs:
        pictures = []
        evaluate.evaluate(
            RandomPolicy(ACTIONS, 0), envs, 2, [lambda rollout: pictures.append(rollout.steps)]
        )
    shades = [int(steps["log/video"].max()) // 20 for steps in pictures]
    assert shades == [0, 1, 1, 3] * 2
    told = [text for text in caplog.messages if "render() raised OSError: the display is" in text]
    assert len(told) == 1


def recorded(logdir):
    """Rewards of the episodes in the run folder, oldest first."""
    folder = logdir / "eval" / "replay"
    files = [format.read(path_of(folder, serial, "chunk"))[1] for serial in serials(folder)]
    assert all(file["is_first"].tolist().index(True) == 0 for file in files)
    assert all(file["is_last"].tolist().index(True) == len(file["is_last"]) - 1 for file in files)
    return [file["reward"].tolist() for file in files]


class Numbered(Worlds):
    """Rewards tell the length, which differs from episode to episode."""

    def reset(self, *, seed=None, options=None):
        obs, info = super().reset(seed=seed)
        self.steps = int(self.np_random.integers(3, 30))
        return obs, info


AGENT = ("--random_agent", "false", "--run.steps", "60", "--run.report_every", "0")


def test_the_steps_of_the_last_evaluation_are_kept(make):
    outcome = make(Numbered, *AGENT, "--run.final_eval_eps", "5")
    kept = recorded(outcome.logdir)
    assert sorted(map(sum, kept)) == sorted(outcome.evaluation.scores)
    assert len(kept) == 5

    def again(episodes, **how):
        words = ["--run.eval_eps", str(episodes), "--logdir", str(outcome.logdir)]
        config = load_saved(read_run(outcome.logdir, trust=False), words)
        source = EnvSource("custom_worlds", config.env, Numbered)
        evaluation = eval_only(config, source, **how).evaluation
        assert evaluation
        return evaluation.scores

    kept = again(2)
    assert len(kept) == 2
    assert sorted(map(sum, recorded(outcome.logdir))) == sorted(kept)
    again(3, record=False)
    assert sorted(map(sum, recorded(outcome.logdir))) == sorted(kept)


def test_evaluations_while_a_run_trains_are_kept_too(make):
    words = ["--script", "train_eval", "--run.eval_every", "1e-6", "--run.eval_eps", "2"]
    outcome = make(Numbered, *AGENT, *words, "--run.final_eval_eps", "0")
    scores = [r["eval/episode/score"] for r in read_jsonl(outcome.logdir / "scores.jsonl")
              if "eval/episode/score" in r]  # fmt: skip
    assert sorted(map(sum, recorded(outcome.logdir))) == sorted(scores[-2:])


def test_an_evaluation_of_a_folder_that_can_only_be_read_is_told(make, monkeypatch):
    outcome = make(Worlds, *AGENT, "--run.final_eval_eps", "0")

    def refused(*args, **options):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("reverie.run.eval_only.build.logger", refused)
    words = ["--run.eval_eps", "2", "--logdir", str(outcome.logdir)]
    config = load_saved(read_run(outcome.logdir, trust=False), words)
    again = eval_only(config, EnvSource("custom_worlds", config.env, Worlds))
    assert again.evaluation
    assert len(again.evaluation.scores) == 2
    assert "The evaluation is not written down: [Errno 30] Read-only file system" in again.notes


def test_an_evaluation_whose_steps_cannot_be_kept_is_none_the_less_one(make, capsys, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "eval").write_text("in the way")
    outcome = make(Worlds, *AGENT, "--run.final_eval_eps", "2")
    assert len(outcome.evaluation.scores) == 2
    assert "The steps of the evaluation are not kept: " in capsys.readouterr().out


def test_an_output_that_cannot_be_used_is_told_before_episodes_are_played(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    words = ["--configs", "debug", "--script", "eval_only", "--logger.outputs", "tensorboard"]
    config = load([*words, "--logdir", str(tmp_path)])
    with pytest.raises(OutputError, match="'tensorboard', whose package cannot be imported"):
        eval_only(config)
