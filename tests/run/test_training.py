"""Whole runs with the real agent: files, evaluation, resume, determinism, NaN."""

import functools
import json
import sys

import gymnasium
import numpy as np
import pytest

import reverie
from reverie.config.load import load, load_run
from reverie.envs.errors import ValueMismatchError
from reverie.errors import ConfigError
from reverie.learner.checkpoints.checkpoint import Checkpointer
from reverie.learner.learner import Learner
from reverie.learner.nonfinite import NonFiniteError
from reverie.run.environments.source import EnvSource
from reverie.run.eval_only import eval_run
from reverie.run.scripts import launch
from reverie.track.sinks.jsonl import read_jsonl


def arrays(logdir):
    return Checkpointer(logdir / "checkpoints").restore().arrays


def test_finished_run_leaves_metrics_curve_plot_and_evaluation(finished):
    assert finished.interrupted is None
    assert finished.exit_code == 0
    assert finished.steps == 120
    names = {path.name for path in finished.files}
    reported = {"obs.png", "reward-continue-value.png", "dream.png"}
    assert names == {"evaluation.json", "scores.png", "metrics.jsonl", *reported}
    assert all(path.stat().st_size > 100 for path in finished.files)
    saved = json.loads((finished.logdir / "evaluation.json").read_text())
    assert len(saved["scores"]) == 3
    assert saved["score_mean"] == finished.evaluation.mean_score
    assert "mean return" in finished.summary()
    assert str(finished.logdir) in finished.summary()


def test_metrics_have_the_documented_names(finished):
    records = read_jsonl(finished.logdir / "metrics.jsonl")
    names = set().union(*records)
    assert {"episode/score", "episode/length", "fps/policy", "fps/train"} <= names
    assert {"train/loss/rew", "train/loss/dyn", "train/opt/grad_norm", "usage/rss_gb"} <= names
    assert {"report/loss/rew", "replay/steps", "eval/episode/score"} <= names
    scores = read_jsonl(finished.logdir / "scores.jsonl")
    assert sum("eval/episode/score" in record for record in scores) == 3


def test_updates_follow_the_train_ratio(finished):
    # 2 sequences of 8 + 1 steps have to be in replay; then 8 replayed steps per environment step.
    first = 18
    assert finished.updates == (finished.steps - first + 2) * 8 // (2 * 8)


def test_same_seed_gives_the_same_run(make_config, tmp_path):
    words = ["--run.steps", "100", "--run.save_every", "0", "--run.report_every", "0"]
    for name in ("a", "b"):
        launch(make_config(tmp_path / name, *words))
    one, two = arrays(tmp_path / "a"), arrays(tmp_path / "b")
    assert sorted(one) == sorted(two)
    for name, value in one.items():
        np.testing.assert_array_equal(value, two[name], err_msg=name)
    launch(make_config(tmp_path / "c", *words, "--seed", "1"))
    other = arrays(tmp_path / "c")
    assert any(not np.array_equal(value, other[name]) for name, value in one.items())


def test_evaluation_reports_and_saving_in_between_change_nothing(make_config, tmp_path, undrawn):
    # Enough for the report to be compiled meanwhile.
    steps = ["--run.steps", "100"]
    quiet = ["--run.save_every", "0", "--run.report_every", "0"]
    busy = ["--run.save_every", "0.01", "--run.report_every", "0.01", "--run.eval_every", "0.01"]
    busy += ["--run.side_share", "1", "--run.eval_eps", "1"]
    launch(make_config(tmp_path / "a", *steps, *quiet))
    kept = ["--script", "train_eval", "--replay.eval_size", "40"]
    launch(make_config(tmp_path / "b", *steps, *busy, *kept))
    one, two = arrays(tmp_path / "a"), arrays(tmp_path / "b")
    for name, value in one.items():
        np.testing.assert_array_equal(value, two[name], err_msg=name)
    scores = read_jsonl(tmp_path / "b" / "scores.jsonl")
    assert any("eval/episode/score" in record for record in scores)
    assert_evaluation_episodes_were_reported_on(tmp_path / "b")


def assert_evaluation_episodes_were_reported_on(folder):
    records = read_jsonl(folder / "metrics.jsonl")
    found = {key: value for record in records for key, value in record.items()}
    assert 20 < found["eval/replay/steps"] <= 40
    losses = {key for key in found if key.startswith("report/loss/")}
    assert losses
    assert losses == {key[5:] for key in found if key.startswith("eval/report/loss/")}
    assert found["eval/report/loss/rew"] != found["report/loss/rew"]
    plots = {path.name for path in folder.glob("openloop/*.png")}
    assert plots
    assert plots == {path.name for path in folder.glob("eval/openloop/*.png")}


def test_resumed_run_goes_on_and_counts_on(make_config, tmp_path, capfd):
    words = ["--logger.outputs", "terminal", "--run.save_every", "0"]
    first = launch(make_config(tmp_path, "--run.steps", "50", *words))
    again = launch(make_config(tmp_path, "--run.steps", "50", *words))
    assert (again.steps, again.updates) == (first.steps, first.updates)
    longer = launch(make_config(tmp_path, "--run.steps", "81", *words))
    # The remainder of 0.0 updates carries over, so that the total is as if run in one go.
    assert longer.steps == 82
    assert longer.updates == (82 - 18 + 2) * 8 // 16
    text = capfd.readouterr().out
    assert "Resumed at 50 environment steps and 17 updates, with 50 steps in replay." in text
    assert "run.steps: saved 50, now 81 (allowed)" in text
    assert Checkpointer(tmp_path / "checkpoints").steps() == [50, 82]


def test_resuming_another_model_is_refused(finished, make_config):
    with pytest.raises(ConfigError, match=r"agent.dyn.deter: saved 32, now 64 \(not allowed"):
        launch(make_config(finished.logdir, "--agent.dyn.deter", "64"))


def test_mistyped_task_leaves_no_folder(make_config, tmp_path):
    with pytest.raises(ValueError, match="CartPole"):
        launch(make_config(tmp_path / "run", "--task", "gym_CartPol-v1"))
    assert not (tmp_path / "run").exists()


def test_duration_ends_a_run(make_config, tmp_path):
    words = ["--run.duration", "0.5", "--run.steps", "1e9", "--random_agent", "true"]
    outcome = launch(make_config(tmp_path, *words))
    assert 0 < outcome.steps < 1e6
    assert outcome.updates == 0
    again = launch(make_config(tmp_path, *words))
    assert again.steps == outcome.steps


def test_a_run_gives_the_interpreter_back_as_it_was(make_config, tmp_path):
    before = sys.getswitchinterval()
    launch(make_config(tmp_path, "--run.steps", "10", "--random_agent", "true"))
    assert sys.getswitchinterval() == before


def test_random_agent_logs_scores_and_resumes(make_config, tmp_path):
    words = ["--random_agent", "true", "--run.final_eval_eps", "2"]
    outcome = launch(make_config(tmp_path, "--run.steps", "200", *words))
    assert 5 < outcome.evaluation.mean_score < 100
    assert launch(make_config(tmp_path, "--run.steps", "220", *words)).steps == 220


def test_evaluation_can_be_filmed(copied):
    outcome = eval_run(str(copied), ["--run.eval_eps", "2"], video=True)
    video = outcome.files[-1]
    assert video.stem == "evaluation"
    assert video.suffix in (".mp4", ".gif")
    assert video.stat().st_size > 1000


@pytest.mark.slow
def test_every_kind_of_space_trains(make_config, tmp_path):
    sizes = ["--env.dummy.size", "16", "16", "--run.report_every", "0"]
    sizes += ["--agent.enc.simple.mults", "2", "2", "--agent.dec.simple.mults", "2", "2"]
    outcome = launch(make_config(tmp_path, "--task", "dummy_hybrid", "--run.steps", "40", *sizes))
    assert outcome.updates == 12
    names = set().union(*read_jsonl(tmp_path / "metrics.jsonl"))
    assert {"train/loss/rec/image", "train/loss/rec/nested/inner"} <= names


class Corridor(gymnasium.Env):
    """An environment of a user: walk to the right."""

    # Shapes as in CartPole, so that the compiled programs are shared.
    observation_space = gymnasium.spaces.Box(-10, 10, (4,), np.float32)
    action_space = gymnasium.spaces.Discrete(2, start=1)

    def __init__(self, break_at=None):
        self._break_at = break_at
        self._total = 0
        self.closed = False

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self._x = 0
        return self._obs(), {}

    def step(self, action):
        assert action in (1, 2)
        self._x += 1 if action == 2 else -1
        self._total += 1
        return self._obs(), float(action == 2), abs(self._x) > 3, False, {}

    def close(self):
        self.closed = True

    def _obs(self):
        broken = np.nan if self._total == self._break_at else 0
        return np.array([self._x, broken, 0, 0], np.float32)


def small(cache, **run):
    return {"jax": {"cache_dir": cache}, "logger.outputs": [], "run": {"steps": 40, **run}}


def test_own_environment_by_class_then_load_without_it(cache, tmp_path):
    outcome = reverie.train(Corridor, "debug", logdir=str(tmp_path), **small(cache))
    assert (outcome.steps, outcome.updates) == (40, 12)
    agent = reverie.load(tmp_path)
    assert agent.task == "custom_Corridor"
    env = Corridor()
    obs, _ = env.reset()
    state, over = None, False
    while not over:
        action, state = agent.policy(obs, state)
        obs, _, over, _, _ = env.step(action)
    assert len(agent.evaluate(Corridor, episodes=3).scores) == 3
    with pytest.raises(ConfigError, match=r"reverie\.load\(logdir\)\.evaluate\(env\)"):
        agent.evaluate()


def test_own_instance_is_used_and_left_open(cache, tmp_path):
    env = Corridor()
    env.connection = (_ for _ in ())  # So that it cannot be copied.
    options = small(cache, final_eval_eps=2, steps=20)
    outcome = reverie.train(env, "debug", logdir=str(tmp_path), **options)
    assert outcome.steps == 20
    assert len(outcome.evaluation.scores) == 2
    assert not env.closed
    assert env._total > 15


def test_observations_out_of_bounds_may_be_let_through(tmp_path):
    class Wide(Corridor):
        observation_space = gymnasium.spaces.Box(-1, 1, (4,), np.float32)

    options = {"logdir": str(tmp_path), "random_agent": True, **small("off")}
    with pytest.raises(ValueMismatchError, match=r"env\.gym\.bounds"):
        reverie.train(Wide, "debug", **options, **{"env.gym.bounds": "error"})
    assert reverie.train(Wide, "debug", **options).steps == 40


def test_an_instance_that_cannot_be_copied_cannot_be_several(tmp_path):
    env = Corridor()
    env.connection = (_ for _ in ())
    with pytest.raises(ConfigError, match=r"run\.envs is 4, but has to be 1: .* Pass a class"):
        reverie.train(env, "debug", logdir=str(tmp_path / "run"), run={"envs": 4})
    options = {"logdir": str(tmp_path / "run"), "run": {"env_max_restarts": 4}}
    with pytest.raises(ConfigError, match=r"env_max_restarts is 4, but has to be 0: .* Pass"):
        reverie.train(env, "debug", **options)
    assert not (tmp_path / "run").exists()


def test_images_of_a_size_that_no_encoder_takes_are_resized(cache, tmp_path):
    class Tiny(Corridor):
        observation_space = gymnasium.spaces.Box(0, 255, (30, 30, 3), np.uint8)

        def reset(self, **kwargs):
            return np.zeros((30, 30, 3), np.uint8), super().reset(**kwargs)[1]

        def step(self, action):
            return np.zeros((30, 30, 3), np.uint8), *super().step(action)[1:]

    # What is drawn and played needs no update, whose convolutions take long to compile.
    options = {"logdir": str(tmp_path / "run"), **small(cache, train_ratio=0, report_every=0)}
    reverie.train(Tiny, "debug", **options)
    action, _ = reverie.load(tmp_path / "run").policy(np.zeros((30, 30, 3), np.uint8))
    assert Tiny.action_space.contains(action)
    assert load_run(["--logdir", str(tmp_path / "run")]).env.gym.size == (48, 48)
    options |= {"logdir": str(tmp_path / "other"), "env.gym.size": [32, 33]}
    with pytest.raises(ConfigError, match=r"32x33"):
        reverie.train(Tiny, "debug", **options)


def test_own_environment_goes_on_without_naming_presets_again(cache, tmp_path):
    reverie.train(Corridor, "debug", logdir=str(tmp_path), **small(cache, steps=20))
    # Options of the machine are not taken over.
    quick = {"cache_dir": cache, "fast_compile": True}
    outcome = reverie.train(Corridor, logdir=str(tmp_path), run={"steps": 30}, jax=quick)
    assert outcome.steps == 30


def test_failing_environment_saves_before_it_stops(cache, tmp_path):
    factory = functools.partial(Corridor, break_at=15)
    config = load(
        configs="debug",
        overrides={"task": "custom_Corridor", "logdir": str(tmp_path), **small(cache)},
    )
    with pytest.raises(ValueMismatchError, match="nan"):
        launch(config, EnvSource(config.task, config.env, factory))
    assert 20 < Checkpointer(tmp_path / "checkpoints").steps()[-1] < 40


def test_policy_repeats_between_two_loads_and_follows_its_state(finished):
    env = reverie.load(finished.logdir).make_env()
    obs, _ = env.reset(seed=0)
    assert obs.shape == (4,)

    def play():
        agent = reverie.load(finished.logdir)
        state, actions = None, []
        for _ in range(8):
            action, state = agent.policy(obs, state, mode="train")
            assert env.action_space.contains(action)
            actions.append(int(action))
        return actions

    assert play() == play()


def test_policy_explains_what_does_not_fit(finished):
    agent = reverie.load(finished.logdir)
    with pytest.raises(ValueMismatchError, match=r"gym_CartPole-v1: .* has shape \(3,\)"):
        agent.policy(np.zeros(3, np.float32))
    with pytest.raises(ValueError, match="'test': expected 'train' or 'eval'"):
        agent.policy(np.zeros(4, np.float32), mode="test")


def test_the_environment_of_a_run_has_its_settings(make_config, tmp_path):
    words = ["--env.gym.kwargs.max_episode_steps", "7", "--random_agent", "true"]
    config = make_config(tmp_path, *words)
    env = EnvSource(config.task, config.env).make()
    env.reset(seed=0)
    lengths = [env.step(env.action_space.sample())[3] for _ in range(7)]
    assert lengths == [False] * 6 + [True]


def test_nan_in_training_stops_and_keeps_the_checkpoint(make_config, tmp_path, monkeypatch):
    launch(make_config(tmp_path, "--run.steps", "30", "--run.save_every", "0"))
    words = ["--run.steps", "200", "--run.save_every", "0"]
    # Else the check of transitions may find a NaN in the latents before the update is looked at.
    words += ["--run.debug", "False"]
    update = Learner.update

    def spoilt(learner, batch, *args):
        return update(learner, {**batch, "reward": batch["reward"] * np.nan}, *args)

    monkeypatch.setattr(Learner, "update", spoilt)
    with pytest.raises(NonFiniteError, match="NaN or infinite at") as caught:
        launch(make_config(tmp_path, *words))
    assert str(tmp_path / "nonfinite") in str(caught.value)
    (folder,) = (tmp_path / "nonfinite").iterdir()
    assert {path.name for path in folder.iterdir()} == {"arrays.npz", "metrics.json"}
    assert Checkpointer(tmp_path / "checkpoints").steps() == [30]
    assert all(np.isfinite(value.astype(np.float32)).all() for value in arrays(tmp_path).values())
