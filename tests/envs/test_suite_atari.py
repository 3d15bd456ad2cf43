"""Atari games: settings, lives, both ends of a game, images, seeds."""

import itertools

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

pytest.importorskip("ale_py")

from ale_py import roms

from reverie.envs.check import check
from reverie.envs.errors import UnknownTaskError
from reverie.envs.flat.conform import name_of
from reverie.envs.registry import factory_of, make, tasks
from reverie.envs.suites.atari.env import Atari
from reverie.envs.vector.vector import VectorEnv

GAMES = """
alien amidar assault asterix asteroids atlantis bank_heist battle_zone beam_rider berzerk bowling
boxing breakout centipede chopper_command crazy_climber defender demon_attack double_dunk enduro
fishing_derby freeway frostbite gopher gravitar hero ice_hockey jamesbond kangaroo krull
kung_fu_master montezuma_revenge ms_pacman name_this_game phoenix pitfall pong private_eye qbert
riverraid road_runner robotank seaquest skiing solaris space_invaders star_gunner surround tennis
time_pilot tutankham up_n_down venture video_pinball wizard_of_wor yars_revenge zaxxon
"""

FULL = {"size": (210, 160), "gray": False, "noops": 0, "sticky": False}
SMALL = {"size": (16, 16), "noops": 0, "sticky": False, "actions": "needed"}


def play(env, steps, seed=0, rng=0):
    """Observations, rewards and flags of a seeded run with random actions."""
    actions = np.random.default_rng(rng).integers(env.action_space.n, size=steps)
    record = [(env.reset(seed=seed)[0], 0.0, False, False)]
    for action in actions:
        if record[-1][2] or record[-1][3]:
            record.append((env.reset()[0], 0.0, False, False))
        else:
            record.append(env.step(action)[:4])
        assert record[-1][0] in env.observation_space
    return record


def same(one, two):
    return all(np.array_equal(a[0], b[0]) and a[1:] == b[1:] for a, b in zip(one, two, strict=True))


def games(env, steps, rng=0):
    """Random play; every step's (reward, terminated, truncated, info), resets in between."""
    actions = np.random.default_rng(rng).integers(env.action_space.n, size=steps)
    env.reset(seed=0)
    record = []
    for action in actions:
        record.append(env.step(action)[1:])
        if record[-1][1] or record[-1][2]:
            env.reset()
    return record


def test_all_standard_games_are_there():
    standard = set(GAMES.split())
    assert len(standard) == 57
    assert standard <= set(roms.get_all_rom_ids())
    assert standard <= set(tasks("atari"))
    assert tasks("atari") == tasks("atari100k")
    assert len(tasks("atari")) > 100


def test_spellings_of_a_game():
    for name in ("jamesbond", "james_bond", "JamesBond"):
        assert name_of(make(f"atari_{name}")) == "atari_jamesbond"
    assert name_of(make("atari100k_upndown")) == "atari100k_up_n_down"
    spellings = [rom.replace("_", "") for rom in roms.get_all_rom_ids()]
    assert len(set(spellings)) == len(spellings)


def test_unknown_games_name_the_nearest_and_games_for_two_are_refused():
    with pytest.raises(UnknownTaskError, match="Did you mean atari_breakout"):
        make("atari_brakeout")
    with pytest.raises(UnknownTaskError, match=r"atari100k_combat.*no mode for one player"):
        make("atari100k_combat")
    assert not {"combat", "joust", "warlords", "maze_craze"} & set(tasks("atari"))


@pytest.mark.parametrize(
    ("task", "options"),
    [
        ("atari_pong", {}),
        ("atari_air_raid", {"lives": "discount", "resize": "area"}),
        ("atari100k_seaquest", {"autostart": True}),
        ("atari100k_montezuma_revenge", {"lives": "reset"}),
    ],
)
def test_random_steps_stay_in_the_spaces_and_repeat_under_a_seed(task, options):
    envs = [make(task, options).unwrapped for _ in range(2)]
    records = [play(env, 110) for env in envs]
    assert same(*records)
    assert same(records[0], play(envs[0], 110))
    assert not same(records[0], play(envs[0], 110, seed=1))


def test_spaces():
    env = make("atari_breakout").unwrapped
    assert env.observation_space == gymnasium.spaces.Box(0, 255, (96, 96, 1), np.uint8)
    assert env.action_space == gymnasium.spaces.Discrete(18)
    env = make("atari100k_breakout").unwrapped
    assert env.observation_space == gymnasium.spaces.Box(0, 255, (64, 64, 3), np.uint8)
    assert env.action_space == gymnasium.spaces.Discrete(4)
    env = Atari("breakout", size=(40, 30))
    assert env.reset(seed=0)[0].shape == (40, 30, 1)
    assert env.render().shape == (210, 160, 3)


def test_sticky_actions_make_games_differ():
    options = {"size": (84, 84), "noops": 0}
    steady, sticky = (Atari("pong", sticky=sticky, **options) for sticky in (False, True))
    assert same(play(steady, 60, seed=0), play(steady, 60, seed=1))
    assert not same(play(sticky, 60, seed=0), play(sticky, 60, seed=1))


def test_no_ops_are_drawn_from_nothing_to_their_limit():
    env = Atari("pong", **{**SMALL, "noops": 3})
    env.reset(seed=0)
    frames = [env.reset()[1]["episode_frame_number"] for _ in range(60)]
    assert set(frames) == {0, 1, 2, 3}
    assert Atari("pong", **SMALL).reset(seed=0)[1]["episode_frame_number"] == 0
    default = Atari("pong", size=(16, 16))
    default.reset(seed=0)
    frames = [default.reset()[1]["episode_frame_number"] for _ in range(40)]
    assert 20 < max(frames) <= 30
    assert min(frames) < 10


def test_the_frame_limit_truncates(monkeypatch):
    assert Atari("pong")._ale.getInt("max_num_frames_per_episode") == 108_000
    monkeypatch.setattr(Atari, "limit", 50)
    env = Atari("pong", **SMALL)
    env.reset(seed=0)
    results = [env.step(0) for _ in range(13)]
    assert [result[2:4] for result in results] == [(False, False)] * 12 + [(False, True)]
    assert results[-1][4]["episode_frame_number"] == 50
    assert env.reset()[1]["episode_frame_number"] == 0
    assert env.step(0)[2:4] == (False, False)


def test_lives_unused_end_the_game_only():
    record = games(Atari("breakout", autostart=True, **SMALL), 400)
    ends = [info["lives"] for _, terminated, _, info in record if terminated]
    assert ends
    assert set(ends) == {0}
    assert not any("log/is_terminal" in info for *_, info in record)


def test_lives_discount_flags_lost_lives_and_goes_on():
    plain = games(Atari("breakout", autostart=True, **SMALL), 400)
    record = games(Atari("breakout", autostart=True, lives="discount", **SMALL), 400)
    assert [step[:3] for step in record] == [step[:3] for step in plain]
    before = 5
    for _, terminated, _, info in record:
        assert info["log/is_terminal"] == float(0 < info["lives"] < before)
        before = 5 if terminated else info["lives"]
    assert sum(info["log/is_terminal"] for *_, info in record) >= 4


def test_lives_reset_ends_every_life_and_goes_on_with_the_next():
    env = Atari("breakout", autostart=True, lives="reset", **SMALL)
    actions = np.random.default_rng(0).integers(4, size=600)
    info, starts = env.reset(seed=0)[1], []
    for action in actions:
        frame = info["episode_frame_number"]
        *_, terminated, _, info = env.step(action)
        if terminated:
            lost, frame = info["lives"], info["episode_frame_number"]
            info = env.reset()[1]
            starts.append((lost, info["lives"]))
            # Fire is pressed for one step; a new game counts its frames anew.
            assert info["episode_frame_number"] == (frame + 4 if lost else 4)
    assert starts[:5] == [(4, 4), (3, 3), (2, 2), (1, 1), (0, 5)]


def test_a_seed_starts_a_new_game_in_place_of_the_next_life():
    env = Atari("breakout", autostart=True, lives="reset", **SMALL)
    env.reset(seed=0)
    while not env.step(0)[2]:
        pass
    assert env.reset(seed=0)[1]["lives"] == 5


def test_autostart_serves_the_ball():
    def moves(autostart):
        env = Atari("breakout", autostart=autostart, **{**SMALL, "size": (84, 84)})
        record = [env.reset(seed=0)[0]] + [env.step(0)[0] for _ in range(10)]
        return any(not np.array_equal(a, b) for a, b in itertools.pairwise(record[1:]))

    assert moves(True)
    assert not moves(False)
    assert not Atari("freeway", autostart=True).press_fire


def test_rewards_are_summed_and_clipped():
    rewards = [step[0] for step in games(Atari("ms_pacman", **SMALL), 120)]
    clipped = [step[0] for step in games(Atari("ms_pacman", clip_reward=True, **SMALL), 120)]
    assert max(rewards) >= 10
    assert clipped == np.sign(rewards).tolist()
    env, single = (Atari("ms_pacman", repeat=repeat, **SMALL) for repeat in (4, 1))
    for each in (env, single):
        each.reset(seed=0)
    for _ in range(80):
        assert env.step(3)[1] == sum(single.step(3)[1] for _ in range(4))
    assert env._ale.getEpisodeFrameNumber() == 320


@pytest.mark.parametrize(
    ("repeat", "pooling", "aggregate", "combine"),
    [
        (4, 1, "max", lambda frames: frames[-1]),
        (4, 2, "max", lambda frames: np.max(frames[-2:], 0)),
        (1, 3, "max", lambda frames: np.max(frames[-3:], 0)),
        (4, 2, "mean", lambda frames: np.rint(np.mean(frames[-2:], 0))),
    ],
)
def test_the_last_frames_are_pooled(repeat, pooling, aggregate, combine):
    # Space Invaders draws its shots on every second frame only.
    env = Atari("space_invaders", pooling=pooling, aggregate=aggregate, repeat=repeat, **FULL)
    single = Atari("space_invaders", repeat=1, pooling=1, **FULL)
    env.reset(seed=0)
    frames = [single.reset(seed=0)[0]] * 3
    for action in np.random.default_rng(0).integers(18, size=40):
        frames += [single.step(action)[0] for _ in range(repeat)]
        np.testing.assert_array_equal(env.step(action)[0], combine(frames))
        np.testing.assert_array_equal(env.render(), frames[-1])


def test_pooling_shows_what_single_frames_miss():
    env, single = (Atari("space_invaders", pooling=pooling, **FULL) for pooling in (2, 1))
    assert not same(play(env, 100), play(single, 100))


def test_a_game_that_ends_within_a_step_shows_its_last_frame(monkeypatch):
    monkeypatch.setattr(Atari, "limit", 10)
    env = Atari("pong", pooling=4, **FULL)
    env.reset(seed=0)
    results = [env.step(2) for _ in range(3)]
    assert results[-1][3]
    np.testing.assert_array_equal(results[-1][0], env.render())


def test_observations_are_not_overwritten():
    env = Atari("space_invaders", repeat=1, pooling=1, **FULL)
    first = env.reset(seed=0)[0]
    kept = first.copy()
    second = [env.step(1)[0] for _ in range(8)][-1]
    assert not np.array_equal(second, kept)
    np.testing.assert_array_equal(first, kept)
    assert first.flags.writeable


def test_both_resizes_give_nearly_the_same_picture():
    one, two = (
        play(Atari("pong", resize=resize), 30)[-1][0].astype(int) for resize in ("area", "bilinear")
    )
    assert 0 < np.abs(one - two).mean() < 3


def test_the_emulator_is_quiet(capfd):
    Atari("pong").reset(seed=0)
    assert capfd.readouterr() == ("", "")


def test_misuse_is_explained():
    env = Atari("breakout", actions="needed")
    for call in (lambda: env.step(0), env.render):
        with pytest.raises(gymnasium.error.ResetNeeded, match="Call reset"):
            call()
    env.reset()
    for action in (-1, 4):
        with pytest.raises(ValueError, match=f"action is {action}, expected 0 to 3"):
            env.step(action)
    with pytest.raises(ValueError, match="lives = 'discont': expected one of 'unused', 'discount'"):
        make("atari_pong", {"lives": "discont"})
    with pytest.raises(ValueError, match="pooling = 0: expected an integer >= 1"):
        make("atari_pong", {"pooling": 0})


@pytest.mark.filterwarnings("ignore:.*render.*:UserWarning")
def test_the_check_of_gymnasium():
    check_env(Atari("pong"), skip_render_check=True)


@pytest.mark.parametrize("task", ["atari_pong", "atari100k_breakout"])
def test_our_own_check(task):
    found = check(task, {"repeat": 8}, steps=120)
    assert [str(each) for each in found if each.level != "note"] == []


def test_processes_carry_the_terminal_flag():
    options = {**SMALL, "autostart": True, "lives": "discount"}
    factories = [factory_of("atari_breakout", options)] * 2
    with VectorEnv(factories, "async", 0) as vector:
        vector.reset()
        steps = [vector.step({"action": np.zeros(2, np.int32)}) for _ in range(60)]
    assert steps[0]["image"].shape == (2, 16, 16, 1)
    flags = np.stack([step["is_terminal"] for step in steps])
    assert set(flags.ravel().tolist()) == {False, True}
    assert not np.stack([step["is_last"] for step in steps])[flags].any()
