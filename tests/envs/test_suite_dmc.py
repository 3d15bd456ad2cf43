"""DeepMind Control: every task is there, manipulation, cameras."""

import numpy as np
import pytest

from reverie.envs.flat.conform import spaces
from reverie.envs.flat.leaves import random_actions
from reverie.envs.registry import make, tasks
from reverie.envs.suites import dmc
from reverie.envs.suites._common import rendering

draws = pytest.mark.skipif(
    not any(map(rendering.works, rendering.APT)), reason="draws nothing here"
)


def play(task, steps, seed=0, **options):
    """Observations and rewards of a seeded run with random actions."""
    env = make(task, {"image": False, **options})
    actions = random_actions(spaces(env)[1], steps, np.random.default_rng(0))
    record = [(env.reset(seed=seed)[0], 0.0)]
    for index in range(steps):
        obs, reward, terminated, truncated, _ = env.step({k: v[index] for k, v in actions.items()})
        assert env.observation_space.contains(obs)
        record.append((obs, reward))
        if terminated or truncated:
            break
    env.close()
    return record


def same(one, two):
    return all(
        first[1] == second[1] and all(np.array_equal(first[0][k], second[0][k]) for k in first[0])
        for first, second in zip(one, two, strict=True)
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", tasks("dmc"))
def test_every_task_steps_and_repeats_under_a_seed(name):
    one, two = (play(f"dmc_{name}", 100) for _ in range(2))
    assert same(one, two)


@pytest.mark.parametrize("name", ["quadruped_walk", "humanoid_run", "manip_reach_site_features"])
def test_some_tasks_step_and_repeat_under_a_seed(name):
    one, two = (play(f"dmc_{name}", 20) for _ in range(2))
    assert same(one, two)
    assert not same(one, play(f"dmc_{name}", 20, seed=1))


def test_a_model_with_random_parts_is_the_same_everywhere_and_its_motors_have_no_limits():
    one, two = (play("dmc_lqr_lqr_6_2", 50, seed=1) for _ in range(2))
    assert same(one, two)
    env = dmc.make("lqr_lqr_6_2", image=False)
    assert np.isinf(env.action_space.high).all()
    env.close()


def test_films_play_at_the_speed_of_the_physics():
    speeds = []
    for repeat in (1, 2):
        env = make("dmc_cartpole_balance", {"image": False, "repeat": repeat})
        speeds.append(env.metadata["render_fps"])
        env.close()
    assert speeds == [100, 50]


def test_environments_without_a_seed_differ():
    envs = [dmc.make("cartpole_swingup", image=False) for _ in range(2)]
    assert not np.array_equal(*(env.reset()[0]["position"] for env in envs))
    for env in envs:
        env.close()


def test_manipulation_is_truncated_after_ten_seconds_and_repeats():
    env = make("dmc_manip_reach_site_features", {"image": False, "repeat": 50})
    env.reset(seed=0)
    action = {"action": np.zeros(spaces(env)[1]["action"].shape, np.float32)}
    ends = [env.step(action)[2:4] for _ in range(5)]
    # 250 steps of 40 ms.
    assert ends == [(False, False)] * 4 + [(False, True)]
    env.close()


def test_features_tell_where_things_are_and_vision_does_not():
    features, vision = (
        make(f"dmc_manip_reach_site_{kind}", {"image": False}) for kind in ("features", "vision")
    )
    assert set(features.observation_space) - set(vision.observation_space) == {"target_position"}
    # No axis of length 1 for the history of a sensor.
    assert features.observation_space["target_position"].shape == (3,)
    for env in (features, vision):
        env.close()


@draws
def test_cameras_show_the_tasks():
    images = {}
    options = {"proprio": False, "size": [32, 48]}
    for name in ("quadruped_walk", "manip_reach_site_vision"):
        for camera in (-1, 0):
            env = make(f"dmc_{name}", {**options, "camera": camera})
            (images[name, camera],) = env.reset(seed=0)[0].values()
            env.close()
    assert {image.shape for image in images.values()} == {(32, 48, 3)}
    assert all(image.std() > 10 for image in images.values())
    default, first = images["quadruped_walk", -1], images["quadruped_walk", 0]
    assert not np.array_equal(default, first)
    manip = images["manip_reach_site_vision", -1], images["manip_reach_site_vision", 0]
    assert np.array_equal(*manip)
