"""Every suite really runs: random steps, spaces, both ends of episodes, seeds."""

import importlib.util
import warnings

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from reverie.envs.check import check
from reverie.envs.flat.conform import spaces
from reverie.envs.flat.leaves import random_actions
from reverie.envs.registry import factory_of, make, tasks
from reverie.envs.suites import crafter as crafter_suite
from reverie.envs.suites.dummy import Dummy

DMC = {"image": False}

# Box2D's bindings crash the interpreter when the deprecation warnings of their import are errors.
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    importlib.import_module("Box2D")


def play(env, steps, seed=0, rng=0):
    """Observations, rewards and flags of a seeded run with random actions."""
    actions = random_actions(spaces(env)[1], steps, np.random.default_rng(rng))
    record = [(*env.reset(seed=seed)[:1], 0.0, False, False, {})]
    for index in range(steps):
        if record[-1][2] or record[-1][3]:
            record.append((*env.reset()[:1], 0.0, False, False, {}))
        else:
            record.append(env.step({key: value[index] for key, value in actions.items()}))
        assert env.observation_space.contains(record[-1][0]), record[-1][0]
    return record


def same(one, two):
    return all(
        np.array_equal(a[0][key], b[0][key]) and a[1:4] == b[1:4]
        for a, b in zip(one, two, strict=True)
        for key in a[0]
    )


@pytest.mark.parametrize(
    ("task", "options"),
    [
        ("gym_CartPole-v1", {}),
        ("gym_Pendulum-v1", {"repeat": 2}),
        ("gym_FrozenLake-v1", {"kwargs": {"map_name": "8x8"}}),
        ("gym_Blackjack-v1", {}),
        ("gym_LunarLander-v3", {"kwargs": {"continuous": True}, "bounds": "ignore"}),
        ("gym_CarRacing-v3", {"size": [64, 64]}),
        ("dmc_cartpole_balance", DMC),
        ("dmc_reacher_easy", {**DMC, "repeat": 2}),
        ("dummy_disc", {"length": 30}),
        ("dummy_cont", {"length": 30}),
        ("dummy_multi", {"length": 30}),
        ("dummy_hybrid", {"length": 30}),
        ("crafter_reward", {}),
    ],
)
def test_random_steps_stay_in_the_spaces_and_repeat_under_a_seed(task, options):
    steps = 110
    envs = [make(task, options) for _ in range(2)]
    records = [play(env, steps) for env in envs]
    assert same(*records)
    assert not same(records[0], play(envs[0], steps, seed=1))
    for env in envs:
        env.close()


# gymnasium also warns about taste: unbounded observations, actions beyond [-1, 1].
TASTE = pytest.mark.filterwarnings("ignore:.*(Box|observation|render).*:UserWarning")


@TASTE
@pytest.mark.parametrize("kind", tasks("dummy"))
def test_dummies_pass_the_check_of_gymnasium(kind):
    check_env(Dummy(kind, length=20), skip_render_check=True)


@TASTE
def test_crafter_passes_the_check_of_gymnasium():
    check_env(crafter_suite.Crafter(size=(48, 32)), skip_render_check=True)


@TASTE
def test_control_suite_passes_the_check_of_gymnasium():
    env = make("dmc_pendulum_swingup", DMC)
    check_env(env.unwrapped, skip_render_check=True)
    env.close()


def test_cartpole_terminates_and_a_time_limit_truncates():
    cartpole = play(make("gym_CartPole-v1"), 60)
    assert any(step[2] for step in cartpole)
    limited = play(make("gym_Pendulum-v1", {"kwargs": {"max_episode_steps": 9}}), 20)
    assert [index for index, step in enumerate(limited) if step[3]] == [9, 19]
    assert not any(step[2] for step in limited)


def test_control_suite_truncates_at_its_limit_and_repeats():
    env = make("dmc_cartpole_balance", {**DMC, "repeat": 20})
    record = play(env, 50)
    assert [index for index, step in enumerate(record) if step[3]] == [50]
    assert not any(step[2] for step in record)
    assert 0 < record[1][1] <= 20
    env.close()


def test_control_suite_terminates_when_the_discount_is_zero():
    import dm_env

    env = make("dmc_cartpole_balance", DMC)
    env.reset()
    control = env.unwrapped._control
    observation = control.step(np.zeros(1)).observation
    control.step = lambda action: dm_env.termination(0.5, observation)
    _, reward, terminated, truncated, _ = env.step({"action": np.zeros(1, np.float32)})
    assert (reward, terminated, truncated) == (0.5, True, False)
    env.close()


def test_control_suite_observations_and_alias():
    env = make("dmc_cup_catch", DMC)
    assert env.unwrapped.task_name == "dmc_ball_in_cup_catch"
    obs, _ = env.reset()
    assert {key: value.shape for key, value in obs.items()} == {"position": (4,), "velocity": (4,)}
    env.close()
    with pytest.raises(ValueError, match="leave no observation"):
        make("dmc_cup_catch", {"image": False, "proprio": False})
    assert len(tasks("dmc")) == 51 + 25


def test_crafter_logs_achievements_and_tells_death_from_the_time_limit():
    env = crafter_suite.Crafter()
    _, info = env.reset(seed=0)
    logs = {key: value for key, value in info.items() if key.startswith("log/")}
    assert len(logs) == 22
    assert set(logs.values()) == {0.0}
    game = env._game
    game._player.achievements["collect_wood"] = 3
    _, reward, *flags, info = env.step(0)
    assert info["log/achievement_collect_wood"] == 3.0
    assert reward == pytest.approx(1.0)
    assert flags == [False, False]
    game._step = game._length - 1
    assert list(env.step(0)[2:4]) == [False, True]
    env.reset()
    game._player.health = 0
    assert list(env.step(0)[2:4]) == [True, False]


def test_crafter_logs_its_inventory_on_request():
    env = make("crafter_reward", {"logs": True})
    info = env.reset()[1]
    assert info["log/inventory_health"] == 9.0
    assert env.step({"action": np.int32(0)})[4]["log/inventory_sapling"] == 0.0
    assert len([key for key in info if key.startswith("log/")]) == 38


def test_crafter_without_reward_gives_none():
    env = crafter_suite.make("noreward")
    env.reset(seed=0)
    env._game._player.achievements["collect_wood"] = 3
    assert env.step(0)[1] == 0.0


def test_crafter_without_numba_says_that_it_is_slow(monkeypatch, caplog):
    real = importlib.util.find_spec
    crafter_suite.make("reward")
    assert caplog.messages == []
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "numba" else real(name)
    )
    crafter_suite.make("reward")
    (message,) = caplog.messages
    assert "pip install -c constraints.txt -e '.[crafter]'" in message


def test_crafter_plays_out_the_same_whatever_lies_in_memory():
    """Its own sets order zombies and cows by address, which differs from run to run."""

    def ending(clutter):
        kept = [object() for _ in range(clutter)]
        env = crafter_suite.Crafter()
        env.reset(seed=4)
        env._game._length = None
        images = [env.step(0)[0] for _ in range(250)]
        assert len(kept) == clutter
        return np.stack(images[::10]), [tuple(o.pos) for o in env._game._world.objects]

    one, two = ending(0), ending(12345)
    np.testing.assert_array_equal(one[0], two[0])
    assert one[1] == two[1]


def test_crafter_before_its_first_reset_says_so():
    with pytest.raises(gymnasium.error.ResetNeeded, match="Call reset"):
        crafter_suite.Crafter().step(0)


def test_the_dummy_rewards_what_its_cue_asks_for():
    env = make("dummy_disc", {"length": 20})
    obs, _ = env.reset()
    rewards = []
    for _ in range(20):
        obs, reward, terminated, truncated, info = env.step({"action": obs["cue"]})
        rewards.append(reward)
        assert info["log/hit"] == 1.0
    assert rewards == [1.0] * 20
    assert (terminated, truncated) == (True, False)
    env.reset()
    assert env.step({"action": np.int32((env.unwrapped._cue + 1) % 5)})[1] == 0.0


@pytest.mark.parametrize("kind", ["cont", "multi", "hybrid"])
def test_other_dummies_reward_a_good_action_more_than_random_ones(kind):
    env = make(f"dummy_{kind}", {"length": 100})
    obs, _ = env.reset(seed=0)
    act = spaces(env)[1]
    rng, good, bad = np.random.default_rng(0), [], []
    for step in range(80):
        cue = int(obs["cue"])
        best = {}
        for key, space in act.items():
            if space.kind == "continuous":
                best[key] = np.full(space.shape, 2 * cue / 5 - 1, np.float32)
            elif space.dtype == "bool":
                best[key] = np.full(space.shape, cue // 3, bool)
            elif space.shape:
                best[key] = np.array([cue * n // 5 for n in space.classes], np.int32)
            else:
                best[key] = np.int32(cue)
        chance = {key: value[0] for key, value in random_actions(act, 1, rng).items()}
        obs, reward, *_ = env.step(best if step % 2 else chance)
        (good if step % 2 else bad).append(reward)
    assert np.mean(good) > 0.99
    assert np.mean(bad) < 0.8


def test_the_suites_have_no_faults_in_our_own_check():
    for task, options in {
        "gym_CartPole-v1": {}, "dmc_cartpole_balance": DMC, "dummy_hybrid": {"length": 40},
        "crafter_noreward": {},
    }.items():  # fmt: skip
        assert [str(f) for f in check(task, options, steps=100) if f.level != "note"] == []


def test_a_factory_builds_crafter_in_a_vector():
    from reverie.envs.vector.vector import VectorEnv

    with VectorEnv([factory_of("crafter_reward")] * 2, "async", 0) as vector:
        vector.reset()
        transition = vector.step({"action": np.zeros(2, np.int32)})
    assert transition["image"].shape == (2, 64, 64, 3)
    assert transition["log/achievement_wake_up"].tolist() == [0.0, 0.0]
