"""Memory Maze: real mazes, seeds, variants and image sizes."""

import gymnasium
import numpy as np
import pytest

from reverie.envs.check import check
from reverie.envs.errors import UnknownTaskError
from reverie.envs.registry import make, tasks
from reverie.envs.suites._common.submodules import import_submodule

pytest.importorskip("labmaze")
suite = pytest.importorskip("reverie.envs.suites.memmaze", exc_type=ImportError)
try:
    suite.prepare(images=True)
    import_submodule("memory_maze", "tasks")
except (ImportError, RuntimeError) as error:
    pytest.skip(str(error), allow_module_level=True)

EXTRA = {
    "agent_pos": (2,),
    "agent_dir": (2,),
    "target_pos": (2,),
    "target_vec": (2,),
    "targets_pos": (3, 2),
    "targets_vec": (3, 2),
    "maze_layout": (9, 9),
}


@pytest.fixture(scope="module")
def small():
    """The smallest maze with all observations, and small images."""
    env = suite.make("9x9_extra", size=(32, 48), color=True)
    yield env
    env.close()


def play(env, steps, seed):
    rng = np.random.default_rng(0)
    record = [(env.reset(seed=seed)[0], 0.0, False, False)]
    for _ in range(steps):
        record.append(env.step(int(rng.choice(6, p=[0.02, 0.5, 0.04, 0.04, 0.2, 0.2])))[:4])
        assert env.observation_space.contains(record[-1][0])
    return record


def same(one, two):
    return all(
        a[1:] == b[1:] and all(np.array_equal(a[0][key], b[0][key]) for key in a[0])
        for a, b in zip(one, two, strict=True)
    )


def test_random_steps_stay_in_the_space_and_repeat_under_a_seed(small):
    record = play(small, 110, seed=0)
    assert {key: record[0][0][key].shape for key in EXTRA} == EXTRA
    assert record[0][0]["image"].shape == (32, 48, 3)
    assert same(record, play(small, 110, seed=0))
    assert not same(record[:5], play(small, 4, seed=1))
    layouts = {small.reset()[0]["maze_layout"].tobytes() for _ in range(2)}
    assert len(layouts | {record[0][0]["maze_layout"].tobytes()}) == 3


def test_the_border_and_the_option_show_the_color_of_the_target(small):
    observation, _ = small.reset(seed=3)
    expected = (observation["target_color"] * 255 * 0.7).astype(np.uint8)
    image = observation["image"]
    for edge in (image[0], image[-1], image[:, 0], image[:, -1]):
        np.testing.assert_allclose(edge, np.broadcast_to(expected, edge.shape), atol=1)
    assert not (image[1:-1, 1:-1] == expected).all(-1).any()
    target = np.flatnonzero((observation["targets_pos"] == observation["target_pos"]).all(-1))
    np.testing.assert_array_equal(observation["targets_vec"][target[0]], observation["target_vec"])


def test_reaching_the_target_is_rewarded_and_changes_the_color(small):
    """The ball is put onto the objects in turn."""
    observation, _ = small.reset(seed=0)
    control = small._control
    physics, walker = control.physics, control.task._walker
    colors, total = [observation["target_color"]], 0.0
    for _ in range(6):
        target = control.task._targets[control.task._current_target_ix]
        walker.set_pose(physics, position=(*physics.bind(target.geom).xpos[:2], 0.5))
        observation, reward, *_ = small.step(0)
        total += reward
        colors.append(observation["target_color"])
    assert total >= 5
    assert len({color.tobytes() for color in colors}) > 1


def test_the_time_limit_truncates(small):
    small.reset(seed=0)
    small.step(0)
    small._control.physics.data.time = 249.5
    ends = [small.step(0)[2:4] for _ in range(2)]
    assert ends == [(False, False), (False, True)]


def test_it_shows_what_the_package_shows():
    """The faster textures, contacts and border change nothing."""
    with pytest.MonkeyPatch.context() as patch:
        from dm_control.locomotion.props import target_sphere

        patch.setattr(import_submodule("memory_maze", "maze"), "target_sphere", target_sphere)
        plain = vars(import_submodule("memory_maze", "tasks"))["memory_maze_9x9"](seed=0)
    fast = suite.MemoryMaze("9x9")
    assert type(fast._control.task._targets[0]) is not type(plain.task._targets[0])
    images = [plain.reset().observation["image"]]
    # The same generators as in the original, without the seeds of a reset.
    own = [fast._observe(fast._control.reset())["image"]]
    fast._started = True
    rng = np.random.default_rng(1)
    for action in rng.choice(6, 40, p=[0.0, 0.5, 0.1, 0.0, 0.3, 0.1]):
        found = plain.step(int(action))
        observation, reward, *_ = fast.step(int(action))
        images.append(found.observation["image"].copy())
        own.append(observation["image"])
        assert reward == found.reward
    np.testing.assert_array_equal(images, own)
    fast.close()
    plain.physics.free()


def test_variants_change_what_they_say():
    actions = {name: suite.MemoryMaze(f"9x9_{name}") for name in ("hifreq", "6cl", "vis")}
    assert actions["hifreq"]._control.control_timestep() == pytest.approx(1 / 40)
    assert actions["vis"]._control.task._maze_arena._z_height == 0.4
    many = actions["6cl"]
    colors = set()
    for seed in range(3):
        many.reset(seed=seed)
        colors |= {tuple(color) for color in many._control.task._target_colors[:3]}
    assert len(colors) > 3
    # The order of the colours starts anew with a seed.
    order = [tuple(color) for color in many._control.task._target_colors]
    many.reset(seed=2)
    assert order == [tuple(color) for color in many._control.task._target_colors]
    for env in actions.values():
        env.close()


def test_tasks_and_what_they_say_when_wrong(small):
    assert len(tasks("memmaze")) == 20
    with pytest.raises(UnknownTaskError, match="memmaze_9x9"):
        make("memmaze_9x8")
    small.close()
    with pytest.raises(gymnasium.error.ResetNeeded, match="Call reset"):
        small.step(0)


def test_the_check_finds_no_fault():
    found = check("memmaze_9x9", {"size": (48, 48)}, steps=100)
    # The speed depends on the machine.
    slow = "steps per second"
    assert [str(f) for f in found if f.level != "note" and slow not in f.problem] == []
