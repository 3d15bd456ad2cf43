"""PinPad: the rules of the room, what the image shows, and speed."""

import time

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from reverie.config.sections.env import PinpadConfig
from reverie.envs.check import check
from reverie.envs.errors import UnknownTaskError
from reverie.envs.registry import make, tasks
from reverie.envs.suites import pinpad

STAY = 0
NUMBERS = {"three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8}


def started(name="three", seed=0, **options):
    env = pinpad.make(name, **options)
    env.reset(seed=seed)
    return env


def walk(env, pad):
    """Walks to the middle of a pad around the others, as one who knows the room; the steps."""
    left, top, width, height = pinpad.PADS[env.task_name.partition("_")[2]][pad]
    goal = (left + width // 2, top + height // 2)
    start, here = (env._x, env._y), env._pad[env._y][env._x]
    ways, queue = {start: []}, [start]
    for x, y in queue:
        for action, (right, down) in enumerate(pinpad.MOVES):
            cell = (x + right, y + down)
            inside = 0 < cell[0] < pinpad.COLUMNS - 1 and 0 < cell[1] < pinpad.ROWS - 1
            if inside and cell not in ways and env._pad[cell[1]][cell[0]] in (-1, pad, here):
                ways[cell] = [*ways[x, y], action]
                queue.append(cell)
    return [env.step(action) for action in ways[goal]]


def leave_pad(env):
    """Puts the player where no pad is."""
    env._x, env._y = 5, 7
    assert env._pad[7][5] == -1


def solve(env):
    return [step for pad in env._goal for step in walk(env, pad)]


@pytest.mark.parametrize("name", pinpad.tasks())
def test_rooms_have_as_many_pads_and_each_can_be_reached(name):
    pads = np.array(started(name)._pad)
    assert set(pads.flat) == {-1, *range(NUMBERS[name])}
    sizes = [width * height for _, _, width, height in pinpad.PADS[name]]
    assert [(pads == number).sum() for number in range(NUMBERS[name])] == sizes
    assert (pads[0] == -1).all()
    assert (pads[:, 0] == -1).all()
    # Pads that touch could not be told apart from one of two colours.
    for shift, axis in ((1, 0), (1, 1)):
        moved = np.roll(pads, shift, axis)
        assert not ((pads >= 0) & (moved >= 0) & (pads != moved)).any()


@pytest.mark.parametrize("name", pinpad.tasks())
def test_the_right_order_is_rewarded_once_and_then_it_starts_anew(name):
    env = started(name)
    leave_pad(env)
    steps = solve(env)
    rewards = [reward for _, reward, *_ in steps]
    assert sum(rewards) == pinpad.REWARD
    assert rewards.index(pinpad.REWARD) > len(env._goal)
    assert steps[-1][4]["log/solved"] == 1.0
    done = len(rewards) - 1 - rewards.index(pinpad.REWARD)
    pause = [env.step(STAY) for _ in range(pinpad.PAUSE - done)]
    assert [reward for _, reward, *_ in pause] == [0.0] * len(pause)
    assert env._history == []
    green = [(step[0] == pinpad.REJOICE).all(-1).sum() for step in pause]
    assert min(green[:-1]) > 1000
    assert green[-1] == 0
    leave_pad(env)
    again = solve(env)
    assert sum(reward for _, reward, *_ in again) == pinpad.REWARD
    assert again[-1][4]["log/solved"] == 2.0


def test_a_wrong_order_is_not_rewarded_but_can_still_be_mended():
    env = started("four")
    leave_pad(env)
    for pad in (3, 1, 0, 2):
        assert not any(reward for _, reward, *_ in walk(env, pad))
    assert env._history == [3, 1, 0, 2]
    assert sum(reward for _, reward, *_ in solve(env)) == pinpad.REWARD


def test_standing_on_a_pad_counts_once_and_so_does_coming_back():
    env = started("three")
    leave_pad(env)
    walk(env, 1)
    for _ in range(3):
        env.step(STAY)
    leave_pad(env)
    walk(env, 1)
    assert env._history == [1]
    walk(env, 2)
    walk(env, 1)
    assert env._history == [1, 2, 1]


def test_walls_hold_the_player_back():
    env = started()
    for action, place in ((1, "_y"), (3, "_x")):
        for _ in range(20):
            env.step(action)
        assert getattr(env, place) == 1
    for action, place, last in ((2, "_y", pinpad.ROWS - 2), (4, "_x", pinpad.COLUMNS - 2)):
        for _ in range(20):
            env.step(action)
        assert getattr(env, place) == last


def test_the_image_shows_player_pads_history_and_the_pause():
    env = started("three")
    leave_pad(env)
    image = env.step(STAY)[0]
    assert (image[28:32, 20:24] == pinpad.PLAYER).all()
    assert (image[0] == pinpad.WALL).all()
    assert (image[56:] == pinpad.WALL).all()
    assert (image[32, 24] == pinpad.FLOOR).all()
    faint = image[36 + 1, 4 + 1]
    image = walk(env, 0)[-1][0]
    assert (image[36 + 1, 4 + 1] == pinpad.COLORS[0]).all()
    assert (faint != pinpad.COLORS[0]).any()
    squares = [tuple(image[60, 8 * slot + 4]) for slot in range(8)]
    assert squares == [pinpad.COLORS[0], *[pinpad.WALL] * 7]
    for pad in (1, 2):
        image = walk(env, pad)[-1][0]
    squares = [tuple(image[60, 8 * slot + 4]) for slot in range(8)]
    assert squares == [*pinpad.COLORS[:3], *[pinpad.WALL] * 5]
    assert (image[32, 24] == pinpad.REJOICE).all()


def test_images_are_the_callers_own():
    env = started()
    image = env.step(STAY)[0]
    before = image.copy()
    for action in (1, 2, 3, 4) * 5:
        env.step(action)
    np.testing.assert_array_equal(image, before)
    image[:] = 7
    assert not (env.render() == 7).all()


def test_starts_are_spread_over_the_room_and_repeat_under_a_seed():
    env = pinpad.make("three")
    cells = []
    for _ in range(2):
        env.reset(seed=3)
        cells.append([])
        for _ in range(600):
            env.reset()
            cells[-1].append((env._x, env._y))
    assert cells[0] == cells[1]
    assert len(set(cells[0])) > 150
    assert {x for x, _ in cells[0]} == set(range(1, 15))
    assert {y for _, y in cells[0]} == set(range(1, 13))


def test_episodes_repeat_under_a_seed_and_end_by_truncation():
    records = []
    for seed in (0, 0, 1):
        env = make("pinpad_five", {"length": 120})
        images = [env.reset(seed=seed)[0]["image"]]
        for action in np.random.default_rng(0).integers(0, 5, 120):
            obs, _, terminated, truncated, _ = env.step({"action": np.int32(action)})
            assert env.observation_space.contains(obs)
            assert not terminated
            images.append(obs["image"])
        assert truncated
        records.append(np.stack(images))
    np.testing.assert_array_equal(records[0], records[1])
    assert (records[0] != records[2]).any()


def test_settings_have_their_effect_and_the_defaults_of_the_configuration():
    env = make("pinpad_three", {"size": [96, 128], "length": 3})
    env.reset(seed=0)
    found = [env.step({"action": np.int32(0)}) for _ in range(3)]
    assert found[0][0]["image"].shape == (96, 128, 3)
    assert [step[3] for step in found] == [False, False, True]
    small = started("six", seed=2)
    large = started("six", seed=2, size=(128, 128))
    np.testing.assert_array_equal(large.render()[: 14 * 8 : 2, ::2], small.render()[: 14 * 4])
    options = PinpadConfig().model_dump()
    assert options == {"length": 10_000, "size": (64, 64)}
    env = make("pinpad_three", options)
    env.reset(seed=0)
    flags = [env.step({"action": np.int32(0)})[2:4] for _ in range(10_000)]
    assert set(flags[:-1]) == {(False, False)}
    assert flags[-1] == (False, True)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"size": [60, 64]}, "multiples of 16"),
        ({"size": [0, 0]}, r"size = \[0, 0\]: expected a list of 2 integers >= 3"),
        ({"length": 0}, "length = 0"),
    ],
)
def test_settings_that_cannot_be_are_refused(options, words):
    with pytest.raises(ValueError, match=words):
        make("pinpad_three", options)


def test_unknown_rooms_and_a_missing_reset_are_errors():
    with pytest.raises(UnknownTaskError, match="pinpad_eight"):
        make("pinpad_nine")
    with pytest.raises(gymnasium.error.ResetNeeded, match="Call reset"):
        pinpad.make("three").step(0)
    with pytest.raises(gymnasium.error.ResetNeeded, match="Call reset"):
        pinpad.make("three").render()


def test_the_checks_find_nothing():
    assert tasks("pinpad") == list(NUMBERS)
    for name in tasks("pinpad"):
        assert [str(f) for f in check(f"pinpad_{name}", {"length": 50}) if f.level != "note"] == []
    check_env(pinpad.make("seven", length=30), skip_render_check=True)


def test_it_is_fast():
    env = started("eight")
    actions = np.random.default_rng(0).integers(0, 5, 4000).tolist()
    best = 0.0
    for _ in range(5):
        start = time.thread_time()
        for action in actions:
            env.step(action)
        best = max(best, len(actions) / (time.thread_time() - start))
    assert best > 10_000  # It is 80,000; other work on the machine takes caches away.
