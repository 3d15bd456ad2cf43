"""ProcGen: real games, both ends of episodes, levels and image sizes."""

import gymnasium
import numpy as np
import pytest
from PIL import Image

from reverie.catalog import SUITES
from reverie.envs.check import check
from reverie.envs.errors import UnknownTaskError
from reverie.envs.registry import make, tasks

pytest.importorskip("gym3")
suite = pytest.importorskip("reverie.envs.suites.procgen", exc_type=ImportError)

NOOP = 4
NATIVE = {"size": (64, 64)}


def play(env, steps, seed=0):
    """Images, rewards, flags and infos under random actions."""
    rng = np.random.default_rng(0)
    record = [(*env.reset(seed=seed)[:1], 0.0, False, False, {})]
    for _ in range(steps):
        if record[-1][2] or record[-1][3]:
            record.append((*env.reset()[:1], 0.0, False, False, {}))
        else:
            record.append(env.step(int(rng.integers(15))))
        assert env.observation_space.contains(record[-1][0])
    return record


def same(one, two):
    return all(
        np.array_equal(a[0], b[0]) and a[1:4] == b[1:4] for a, b in zip(one, two, strict=True)
    )


def levels(env, episodes):
    """Seeds of the levels of some episodes."""
    seeds = [env.reset(seed=0)[1]["level_seed"]]
    return seeds + [env.reset()[1]["level_seed"] for _ in range(episodes - 1)]


@pytest.mark.parametrize("game", tasks("procgen"))
def test_every_game_repeats_itself_under_a_seed(game):
    one, two = suite.make(game, **NATIVE), suite.make(game, **NATIVE)
    record = play(one, 150)
    assert same(record, play(two, 150))
    assert same(record, play(one, 150))
    assert not same(record, play(one, 150, seed=1))
    assert len({image.tobytes() for image, *_ in record}) > 10
    one.close()
    two.close()


@pytest.mark.parametrize(("game", "limit"), [("maze", 500), ("coinrun", 1000), ("heist", 1000)])
def test_the_step_limit_truncates(game, limit):
    env = suite.make(game, **NATIVE)
    env.reset(seed=0)
    for step in range(1, limit + 1):
        _, reward, terminated, truncated, info = env.step(NOOP)
        assert not terminated
        assert truncated == (step == limit)
    assert (reward, info["level_complete"]) == (0.0, False)
    env.close()


@pytest.mark.parametrize(
    ("game", "mode"), [(g, m) for m, games in suite.MODES.items() for g in games]
)
def test_the_limits_are_those_of_the_engine(game, mode):
    env = suite.make(game, mode=mode, **NATIVE)
    env.reset(seed=0)
    state = env._game.get_state()[0]
    # Reward, done, complete and action come after 13 kB of generator states, and then the limit.
    numbers = {int.from_bytes(state[at : at + 4], "little") for at in range(13400, 13560)}
    assert env.limit in numbers
    assert not {500, 1000, 2000, 4000, 6000} & numbers - {env.limit}
    env.close()


def test_a_death_and_a_completed_level_terminate():
    env = suite.make("coinrun", mode="easy", **NATIVE)
    ends = [step for step in play(env, 4000) if step[2]]
    complete = {step[4]["level_complete"] for step in ends}
    assert complete == {True, False}
    for _, reward, terminated, truncated, info in ends:
        assert (terminated, truncated) == (True, False)
        assert reward == (10.0 if info["level_complete"] else 0.0)
    env.close()


def test_the_image_of_the_next_level_comes_with_its_reset():
    env = suite.make("maze", **NATIVE)
    image, first = env.reset(seed=0)
    for _ in range(500):
        before, (image, _, _, truncated, info) = image, env.step(NOOP)
    assert truncated
    np.testing.assert_array_equal(image, before)
    assert info["level_seed"] == first["level_seed"]
    fresh, second = env.reset()
    assert second["level_seed"] != first["level_seed"]
    assert not np.array_equal(fresh, image)
    assert env.step(NOOP)[4] == second
    env.close()


def test_a_reset_in_mid_episode_starts_another_level():
    env = suite.make("coinrun", **NATIVE)
    image, info = env.reset(seed=0)
    for _ in range(10):
        image, *_ = env.step(7)
    fresh, other = env.reset()
    assert other["level_seed"] != info["level_seed"]
    assert not np.array_equal(fresh, image)
    assert not any(env.step(NOOP)[2:4])
    env.close()


def test_levels_can_be_limited():
    env = suite.make("maze", num_levels=3, start_level=70, **NATIVE)
    assert set(levels(env, 40)) == {70, 71, 72}
    env.close()
    assert len(set(levels(suite.make("maze", **NATIVE), 20))) == 20
    assert len(set(levels(suite.make("maze", mode="exploration", **NATIVE), 5))) == 1


def test_modes_have_levels_of_their_own():
    images = {
        mode: suite.make("dodgeball", mode=mode, **NATIVE).reset(seed=0)[0].tobytes()
        for mode in ("easy", "hard", "extreme", "memory")
    }
    assert len(set(images.values())) == 4


def test_small_images_come_from_the_native_ones_and_large_ones_from_a_larger_rendering():
    native = suite.make("bigfish", **NATIVE).reset(seed=3)[0]
    for resize, resampling in {"area": Image.BOX, "bilinear": Image.BILINEAR}.items():
        small = suite.make("bigfish", size=(32, 48), resize=resize).reset(seed=3)[0]
        expected = Image.fromarray(native).resize((48, 32), resampling)
        np.testing.assert_array_equal(small, expected)
    full = suite.make("bigfish", size=(512, 512)).reset(seed=3)[0]
    large = suite.make("bigfish").reset(seed=3)[0]
    assert large.shape == (96, 96, 3)
    np.testing.assert_array_equal(large, Image.fromarray(full).resize((96, 96), Image.BILINEAR))
    # Both show the same scene.
    shrunk = np.asarray(Image.fromarray(full).resize((64, 64), Image.BOX), np.float32)
    assert np.abs(shrunk - native).mean() < 8


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mode": "memory"}, "coinrun has easy, hard, exploration only"),
        ({"mode": "ultra"}, "env.procgen.mode = 'ultra': .*'easy', 'hard'"),
        ({"mode": "exploration", "num_levels": 3}, "one fixed level"),
        ({"start_level": 3}, "start_level=3: it needs num_levels"),
        ({"num_levels": 2**31 - 1, "start_level": 1}, "below 2"),
        ({"resize": "nearest"}, "'bilinear' or 'area'"),
    ],
)
def test_options_that_do_not_fit_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        make("procgen_coinrun", options)


def test_unknown_games_and_missing_resets_say_what_to_do():
    with pytest.raises(UnknownTaskError, match="procgen_coinrun"):
        make("procgen_coinrum")
    with pytest.raises(gymnasium.error.ResetNeeded, match="Call reset"):
        suite.make("maze").step(0)
    assert "--no-deps procgen-mirror" in SUITES["procgen"].install


def test_the_check_finds_no_fault():
    found = check("procgen_bigfish", {"size": (64, 64)}, steps=300)
    assert [str(each) for each in found if each.level != "note"] == []
