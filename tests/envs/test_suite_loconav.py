"""LocoNav: real walkers in mazes and corridors."""

import gymnasium
import numpy as np
import pytest

from reverie.envs.check import check
from reverie.envs.errors import RenderingError, UnknownTaskError
from reverie.envs.registry import make, tasks

pytest.importorskip("dm_control")
pytest.importorskip("labmaze")
suite = pytest.importorskip("reverie.envs.suites.loconav")
try:
    suite.prepare(images=True)
except RenderingError as error:
    pytest.skip(str(error), allow_module_level=True)


def fast(name, **options):
    """A task without shadows and smoothing, which take long without a GPU."""
    env = suite.make(name, **options)
    quality = env._task.root_entity.mjcf_model.visual.quality
    quality.shadowsize = quality.offsamples = 0
    return env


def play(env, steps, seed):
    env.action_space.seed(0)
    record = [(env.reset(seed=seed)[0], 0.0, False, False)]
    for _ in range(steps):
        if record[-1][2] or record[-1][3]:
            record.append((env.reset()[0], 0.0, False, False))
        else:
            record.append(env.step(env.action_space.sample())[:4])
        assert env.observation_space.contains(record[-1][0])
    return record


def same(one, two):
    return all(
        a[1:] == b[1:] and all(np.array_equal(a[0][key], b[0][key]) for key in a[0])
        for a, b in zip(one, two, strict=True)
    )


@pytest.fixture(scope="module")
def ant():
    env = fast("ant_maze_s")
    yield env
    env.close()


@pytest.mark.parametrize(("name", "steps"), [("ant_maze_m", 110), ("ant_gaps", 30)])
def test_random_steps_stay_in_the_space_and_repeat_under_a_seed(name, steps):
    one, two = fast(name), fast(name)
    np.random.seed(1)
    record = play(one, steps, seed=0)
    np.random.seed(2)  # dm_control draws textures from here.
    assert same(record, play(two, steps, seed=0))
    # A new episode on the way changes nothing either.
    one.reset()
    assert same(record[:10], play(one, 9, seed=0))
    assert not same(record[:10], play(one, 9, seed=1))
    assert not all(step[0]["image"].std() == 0 for step in record)
    one.close()
    two.close()


def test_a_maze_leaves_the_generator_of_others_alone(ant):
    np.random.seed(5)
    expected = np.random.random()
    np.random.seed(5)
    ant.reset(seed=0)
    assert np.random.random() == expected


def test_sensors_without_values_are_left_out(ant):
    space = ant.observation_space
    assert set(ant._control.observation_spec()) - set(ant._keys) == {
        "walker/sensors_force",
        "walker/sensors_torque",
    }
    assert space["joints_pos"].shape == (8,)
    assert space["image"].shape == (64, 64, 3)
    assert ant.action_space.shape == (8,)


def test_the_sphere_gives_a_reward_again_and_again(ant):
    ant.reset(seed=0)
    physics, target = ant._control.physics, ant._task._target
    places = {tuple(physics.bind(target.geom).xpos)}
    rewards = []
    for _ in range(3):
        ant._task._walker.set_pose(physics, position=physics.bind(target.geom).xpos)
        _, reward, *flags, _ = ant.step(np.zeros(8, np.float32))
        rewards.append(reward)
        assert flags == [False, False]
        places.add(tuple(physics.bind(target.geom).xpos))
    assert rewards == [1.0] * 3
    assert len(places) == 1


def test_an_ant_on_its_back_terminates_and_the_time_limit_truncates(ant):
    ant.reset(seed=0)
    ant._control.physics.data.time = 59.9
    ends = [ant.step(np.zeros(8, np.float32))[2:4] for _ in range(2)]
    assert ends == [(False, False), (False, True)]
    ant.reset()
    ant._task._walker.set_pose(ant._control.physics, quaternion=(0, 1, 0, 0))
    assert ant.step(np.zeros(8, np.float32))[2:4] == (True, False)


@pytest.mark.parametrize("arena", ["maze_s", "walls"])
def test_a_falling_humanoid_terminates(arena):
    env = fast(f"humanoid_{arena}", size=(16, 16))
    record = play(env, 25, seed=0)
    assert any(step[2] for step in record)
    assert not any(step[3] for step in record)
    assert env.action_space.shape == (56,)
    env.close()


def test_repeat_adds_rewards_and_draws_once(monkeypatch):
    one, three = fast("ant_walls", size=(16, 16)), fast("ant_walls", size=(16, 16), repeat=3)
    for env in (one, three):
        env.reset(seed=0)
    drawn = []
    render = three.render
    monkeypatch.setattr(three, "render", lambda: drawn.append(1) or render())
    action = np.full(8, 0.3, np.float32)
    singles = [one.step(action) for _ in range(6)]
    for index in range(2):
        observation, reward, *_ = three.step(action)
        part = singles[3 * index : 3 * index + 3]
        assert reward == pytest.approx(sum(step[1] for step in part))
        np.testing.assert_array_equal(observation["image"], part[-1][0]["image"])
    assert sum(step[1] for step in singles) > 0
    assert len(drawn) == 2
    one.close()
    three.close()


def test_size_and_camera_change_the_image(ant):
    own, _ = ant.reset(seed=0)
    top = fast("ant_maze_s", size=(48, 32), camera=0)
    above, _ = top.reset(seed=0)
    assert above["image"].shape == (48, 32, 3)
    assert not np.array_equal(above["image"], own["image"][8:56, 16:48])
    np.testing.assert_array_equal(above["joints_pos"], own["joints_pos"])
    top.close()
    with pytest.raises(ValueError, match="has cameras 0 to 4"):
        suite.make("ant_maze_s", camera=5)


def test_mazes_grow_with_their_name():
    cells = [suite._maze(*suite.MAZES[name]).maze.width for name in ("s", "m", "l", "xl")]
    assert cells == [7, 11, 15, 21]


def test_every_maze_has_room_for_the_walker_and_the_sphere():
    for size in suite.MAZES.values():
        maze = suite._maze(*size).maze
        for _ in range(100):
            maze.regenerate()
            text = str(maze.entity_layer)
            assert "P" in text
            assert "G" in text


def test_tasks_and_what_they_say_when_wrong():
    assert len(tasks("loconav")) == 12
    with pytest.raises(UnknownTaskError, match="loconav_ant_maze_m"):
        make("loconav_ant_mase_m")
    with pytest.raises(ValueError, match="repeat = 0"):
        make("loconav_ant_walls", {"repeat": 0})
    env = suite.make("ant_walls")
    with pytest.raises(gymnasium.error.ResetNeeded, match="Call reset"):
        env.step(np.zeros(8, np.float32))
    env.close()


def test_the_check_finds_no_fault():
    found = check("loconav_ant_walls", {"size": (48, 48)}, steps=100)
    # The speed depends on the machine.
    slow = "steps per second"
    assert [str(f) for f in found if f.level != "note" and slow not in f.problem] == []
