"""The conformance check: what it finds, and that faultless environments pass."""

import sys
import tracemalloc

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces as gs

from reverie.config.load import load
from reverie.envs.check import check
from reverie.run.environments.source import EnvSource


class Good(gymnasium.Env):
    """A faultless environment that the faulty ones derive from."""

    observation_space = gs.Box(-np.inf, np.inf, (2,))
    action_space = gs.Box(-1, 1, (1,))

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.time = 0
        return self.observe(), {}

    def step(self, action):
        self.time += 1
        return self.observe(), float(action[0]), self.time >= 20, False, {}

    def observe(self):
        return self.np_random.normal(size=2).astype(np.float32)


class NotANumber(Good):
    def observe(self):
        return np.array([0, np.nan if self.time == 5 else 0], np.float32)


class WrongShape(Good):
    def observe(self):
        return np.zeros(3, np.float32)


class OutOfBounds(Good):
    observation_space = gs.Box(-0.01, 0.01, (2,))


class Unseeded(Good):
    def observe(self):
        return np.random.normal(size=2).astype(np.float32)


class OldStep(Good):
    def step(self, action):
        return self.observe(), 0.0, False, {}


class OldReset(Good):
    def reset(self):
        return np.zeros(2, np.float32)


class Crashing(Good):
    def step(self, action):
        raise ZeroDivisionError("bug")


class Speaking(Good):
    observation_space = gs.Text(3)


class NoneFlag(Good):
    def step(self, action):
        obs, reward, terminated, _, info = super().step(action)
        return obs, reward, terminated, None, info


class ChannelsFirst(Good):
    observation_space = gs.Box(0, 255, (3, 64, 64), np.uint8)

    def observe(self):
        return np.zeros((3, 64, 64), np.uint8)


class TinyImage(ChannelsFirst):
    observation_space = gs.Box(0, 255, (7, 7, 3), np.uint8)

    def observe(self):
        return np.full((7, 7, 3), 200, np.uint8)


class Codes(TinyImage):
    def observe(self):
        return np.full((7, 7, 3), self.time % 11, np.uint8)


class LargeImage(ChannelsFirst):
    observation_space = gs.Box(0, 255, (500, 400, 3), np.uint8)

    def observe(self):
        return np.full((500, 400, 3), 200, np.uint8)


class GrayFrames(ChannelsFirst):
    observation_space = gs.Box(0, 255, (4, 84, 84), np.uint8)

    def observe(self):
        return np.zeros((4, 84, 84), np.uint8)


class FlatImage(ChannelsFirst):
    observation_space = gs.Box(0, 255, (64, 48), np.uint8)

    def observe(self):
        return np.zeros((64, 48), np.uint8)


class FloatImage(ChannelsFirst):
    observation_space = gs.Box(0, 1, (64, 64, 3), np.float32)

    def observe(self):
        return np.zeros((64, 64, 3), np.float32)


class NoImage(FlatImage):
    observation_space = gs.Box(0, 200, (64, 48), np.float32)


class Stacked(ChannelsFirst):
    observation_space = gs.Box(0, 255, (4, 64, 64, 1), np.uint8)

    def observe(self):
        return np.zeros((4, 64, 64, 1), np.uint8)


class Unbounded(Good):
    action_space = gs.Box(-np.inf, np.inf, (1,))


class NoReward(Good):
    def step(self, action):
        obs, _, terminated, truncated, info = super().step(action)
        return obs, 0.0, terminated, truncated, info


class Endless(Good):
    def step(self, action):
        obs, reward, _, _, info = super().step(action)
        return obs, reward, False, False, info


class Both(Good):
    def step(self, action):
        obs, reward, terminated, _, info = super().step(action)
        return obs, reward, terminated, terminated, info


class Unbuildable(Good):
    def __init__(self):
        raise OSError("no licence")


class Exiting(Good):
    def step(self, action):
        raise SystemExit(3)


class ExitingStart(Good):
    def __init__(self):
        raise SystemExit("no display")


class LogsText(Good):
    def step(self, action):
        return (*super().step(action)[:4], {"log/name": "hey"})


def logs_nothing_but_numbers():
    class LogsNumbers(Good):
        def step(self, action):
            return (*super().step(action)[:4], {"log/x": 1.0, "name": "hey"})

    return LogsNumbers()


@pytest.mark.parametrize(
    ("env", "level", "words"),
    [
        (NotANumber, "error", ["NotANumber", "step 5", "'obs'", "NaN"]),
        (WrongShape, "error", ["'obs'", "(3,)", "(2,)"]),
        (OutOfBounds, "error", ["'obs'", "bound", "Training lets such values through after one"]),
        (OldStep, "error", ["4 values", "terminated"]),
        (OldReset, "error", ["reset(self, *, seed=None, options=None)"]),
        (Crashing, "error", ["ZeroDivisionError: bug"]),
        (Speaking, "error", ["Text"]),
        (Exiting, "error", ["SystemExit: 3", "test_envs_check.py, line", "raise SystemExit(3)"]),
        (ExitingStart, "error", ["cannot be built", "SystemExit: no display"]),
        (LogsText, "error", ["info['log/name'] is 'hey'", "Return a number"]),
        (TinyImage, "note", ["7x7 pixels are resized to 48x48", "env.gym.size"]),
        (LargeImage, "note", ["500x400 pixels are resized to 96x96"]),
        (Codes, "warning", ["'image' was brighter than 10 of 255", "env.gym.wrappers"]),
        (GrayFrames, "warning", ["'image'", "(4, 84, 84)", "channels in front: 84x84x4"]),
        (Unbuildable, "error", ["cannot be built", "no licence"]),
        (Unseeded, "warning", ["'obs' differs at step 0", "self.np_random"]),
        (NoneFlag, "warning", ["truncated=None", "True or False"]),
        (ChannelsFirst, "warning", ["'image'", "(3, 64, 64)", "channels in front", "64x64x3"]),
        (Stacked, "warning", ["'image'", "a stack of 4 images", "64x64x4"]),
        (FlatImage, "warning", ["'image'", "(64, 48)", "gray image", "64x48x1"]),
        (logs_nothing_but_numbers, "note", ["steps per second"]),
        (FloatImage, "warning", ["'image'", "float32 in 0..1", "64x64x3"]),
        (NoImage, "warning", ["'obs'", "(64, 48)", "3072 numbers", "uint8 in 0..255"]),
        (Unbounded, "warning", ["'action'", "finite bounds", "[-1, 1]"]),
        (NoReward, "note", ["Every reward"]),
        (Endless, "note", ["No episode ended", "TimeLimit"]),
        (Both, "note", ["both terminated and truncated"]),
    ],
)
def test_faults_are_found_with_their_mend(env, level, words):
    found = check(env, steps=100)
    text = "\n".join(str(finding) for finding in found if finding.level == level)
    for word in words:
        assert word in text
    worse = {"error": [], "warning": ["error"], "note": ["error", "warning"]}[level]
    assert not [str(finding) for finding in found if finding.level in worse]


class NoInfo(Good):
    def reset(self, *, seed=None, options=None):
        return super().reset(seed=seed)[0], None


class SeedOnly(Good):
    def reset(self, seed=None):
        return super().reset(seed=seed)


class BadStart(Good):
    def reset(self, *, seed=None, options=None):
        return 1 / 0


class BadEnd(Good):
    def close(self):
        raise OSError("gone")


class NoEnv:
    observation_space, action_space = Good.observation_space, Good.action_space
    step = Good.step


class SeveralAgents(NoEnv):
    possible_agents = ("red", "blue")


def vector():
    return gymnasium.make_vec("CartPole-v1", num_envs=2)


@pytest.mark.parametrize(
    ("source", "level", "words"),
    [
        (NoInfo, "error", ["None as its info", "dict"]),
        (SeedOnly, "error", ["reset(self, *, seed=None, options=None)"]),
        (BadStart, "error", ["ZeroDivisionError", "test_envs_check.py, line", "return 1 / 0"]),
        (BadEnd, "warning", ["close() raised OSError: gone"]),
        (NoEnv, "error", ["NoEnv", "gymnasium.Env"]),
        (vector, "error", ["vector of environments", "run.envs"]),
        (vector(), "error", ["vector of environments", "run.envs"]),
        (NoEnv(), "error", ["NoEnv", "gymnasium.Env"]),
        (SeveralAgents(), "error", ["SeveralAgents", "several agents"]),
        (SeveralAgents, "error", ["SeveralAgents", "several agents"]),
        (3, "error", ["3 is neither"]),
        (lambda: None, "error", ["has returned None. Return an instance"]),
        (lambda: Good, "error", ["has returned <class", "Return an instance"]),
        (lambda size: Good(), "error", ["cannot be built", "'size'", "functools.partial"]),
    ],
)
@pytest.mark.parametrize("discrete", [False, True])
def test_the_check_only_reports(source, level, words, discrete, monkeypatch):
    if discrete:
        # Their masks are looked for, which takes a reset.
        monkeypatch.setattr(Good, "action_space", gs.Discrete(2))
        end = (np.zeros(2, np.float32), 0.0, True, False, {})
        monkeypatch.setattr(Good, "step", lambda self, action: end)
    found = check(source, steps=100)
    text = "\n".join(str(finding) for finding in found if finding.level == level)
    for word in words:
        assert word in text


def test_an_interrupt_still_ends_the_check():
    class Interrupted(Good):
        def step(self, action):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        check(Interrupted)


def test_a_value_that_is_no_number_is_never_let_through():
    (error,) = (each for each in check(NotANumber) if each.level == "error")
    assert "lets" not in str(error)


def test_the_check_says_of_images_what_a_run_says():
    config = load(["--task", "custom_GrayFrames", "--run.env_backend", "sync"])
    source = EnvSource(config.task, config.env, GrayFrames).resolved(config)
    recognized, resized = source.spaces().notes
    assert "channels in front: 84x84x4" in recognized
    assert "84x84 pixels are resized to 80x80" in resized
    found = [str(each) for each in check(GrayFrames)]
    assert recognized in found[0].replace("-> ", "")
    assert f"note: {resized}" in found


def test_a_size_that_was_asked_for_is_not_changed(monkeypatch):
    monkeypatch.setitem(sys.modules, "own_images", sys.modules[__name__])
    levels = [each.level for each in check("own_images:TinyImage")]
    assert "error" not in levels
    (error,) = (
        each for each in check("own_images:TinyImage", {"size": (40, 40)}) if each.level == "error"
    )
    assert "40x40 pixels" in str(error)


@pytest.mark.parametrize("source", [OutOfBounds, "own:OutOfBounds"])
def test_a_first_observation_out_of_bounds_is_not_blamed_on_the_constructor(source, monkeypatch):
    monkeypatch.setitem(sys.modules, "own", sys.modules[__name__])
    (error,) = (x for x in check(source, {"bounds": "warn"}) if x.level == "error")
    assert error.problem.startswith("OutOfBounds, step 0 of the episode: observation 'obs'")
    assert "env.gym.bounds is error" in error.mend


def test_a_reward_of_nan_is_no_matter_of_a_space():
    class NoNumber(Good):
        def step(self, action):
            obs, _, *rest = super().step(action)
            return obs, float("nan"), *rest

    (error,) = (each for each in check(NoNumber) if each.level == "error")
    assert str(error).endswith("the reward is nan. Return a finite number.")


@pytest.mark.parametrize("wrapper", ["NormalizeObservation", "NormalizeReward"])
def test_wrappers_that_keep_statistics_are_told_by_the_check_and_by_a_run(wrapper):
    def make():
        return gymnasium.wrappers.TimeLimit(
            getattr(gymnasium.wrappers, wrapper)(gymnasium.make("CartPole-v1")), 9
        )

    said = f"{wrapper} keeps statistics that no checkpoint has"
    assert sum(said in str(finding) for finding in check(make)) == 1
    (note,) = EnvSource("custom_make", custom=make).spaces().notes
    assert note.startswith(said)
    assert note.endswith("Leave it out: the agent scales observations and returns by itself.")


def test_a_faultless_environment_only_gets_its_rates():
    (finding,) = check(Good, steps=150)
    assert finding.level == "note"
    assert "steps per second" in finding.problem


def test_an_instance_is_checked_and_left_open_as_it_was():
    env = Good()
    assert [finding.level for finding in check(env)] == ["note"]
    assert env.step(np.zeros(1))[0].shape == (2,)
    assert "step" not in vars(env)


def test_findings_come_worst_first():
    class Several(NotANumber, Unbounded):
        pass

    levels = [finding.level for finding in check(Several)]
    assert levels == sorted(levels, key=["error", "warning", "note"].index)
    assert {"error", "warning"} <= set(levels)


def test_a_factory_that_cannot_travel_is_a_warning():
    import threading

    lock = threading.Lock()
    found = check(lambda: Good() if lock else None)
    assert [finding.level for finding in found] == ["warning", "note"]
    assert "env_backend=sync" in found[0].mend


def test_a_slow_environment_is_a_warning(monkeypatch):
    monkeypatch.setattr(sys.modules["reverie.envs.check"], "SLOW", 1e9)
    (finding,) = check(Good)
    assert finding.level == "warning"
    assert "run.env_backend=async" in finding.mend


def test_unknown_tasks_are_findings_too():
    (finding,) = check("dummy_discrete")
    assert finding.level == "error"
    assert "'dummy_discrete' does not exist" in finding.problem


def test_images_are_compared_without_keeping_them():
    class Large(Good):
        observation_space = gs.Box(0, 255, (256, 256, 3), np.uint8)
        seeded = True

        def observe(self):
            rng = self.np_random if self.seeded else np.random
            return np.full((256, 256, 3), rng.uniform(50, 250), np.uint8)

    class Other(Large):
        seeded = False

    assert not any("differs" in finding.problem for finding in check(Large))
    tracemalloc.start()
    found = check(Other)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert any("'image' differs at step 0" in finding.problem for finding in found)
    assert most < 100 * 256 * 256 * 3  # Of 400 that were compared.
