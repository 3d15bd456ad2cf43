"""Minecraft: what reaches the game, what comes back, rewards, ends, and a game that breaks.

The engine itself (Java, and a build that downloads the game) cannot be installed on the machines
that run these tests. They drive the adapter through a stand-in with the interface of MineRL 0.4.4,
`fake_minerl.py`.
"""

import importlib
import importlib.metadata
import pathlib
import subprocess
import sys
import threading

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from reverie.envs.check import check
from reverie.envs.errors import MissingPackageError, UnknownTaskError
from reverie.envs.flat.conform import spaces
from reverie.envs.flat.leaves import random_actions
from reverie.envs.registry import make, tasks
from reverie.envs.suites.minecraft import engine as minecraft_engine
from reverie.envs.suites.minecraft.engine import EngineError

MODULES = [f"reverie.envs.suites.minecraft.{part}" for part in ("env", "spec")]
WAYS = {
    "craft_planks": ("craft", "planks"),
    "craft_stick": ("craft", "stick"),
    "craft_crafting_table": ("craft", "crafting_table"),
    "place_crafting_table": ("place", "crafting_table"),
    "craft_wooden_pickaxe": ("nearbyCraft", "wooden_pickaxe"),
    "craft_stone_pickaxe": ("nearbyCraft", "stone_pickaxe"),
    "craft_iron_pickaxe": ("nearbyCraft", "iron_pickaxe"),
    "equip_stone_pickaxe": ("equip", "stone_pickaxe"),
    "equip_wooden_pickaxe": ("equip", "wooden_pickaxe"),
    "equip_iron_pickaxe": ("equip", "iron_pickaxe"),
    "craft_furnace": ("nearbyCraft", "furnace"),
    "place_furnace": ("place", "furnace"),
    "smelt_iron_ingot": ("nearbySmelt", "iron_ingot"),
}
TO_A_DIAMOND = [
    *["attack"] * 8,
    *["craft_planks"] * 5,
    *["craft_stick"] * 2,
    *["craft_crafting_table", "place_crafting_table"],
    *["craft_wooden_pickaxe", "equip_wooden_pickaxe"],
    *["attack"] * 11,
    *["craft_stone_pickaxe", "equip_stone_pickaxe"],
    *["attack"] * 3,
    *["craft_furnace", "place_furnace"],
    *["smelt_iron_ingot"] * 3,
    *["craft_iron_pickaxe", "equip_iron_pickaxe", "attack"],
]
"""Every first thing it makes is a milestone; the second of each is not."""


def forget():
    for name in MODULES:
        sys.modules.pop(name, None)
    for name in ("int", "float"):
        vars(np).pop(name, None)


@pytest.fixture
def fake(monkeypatch, tmp_path):
    forget()
    monkeypatch.setattr(minecraft_engine, "WAIT", 0.0)
    monkeypatch.setattr(minecraft_engine.tempfile, "tempdir", str(tmp_path))
    monkeypatch.syspath_prepend(pathlib.Path(__file__).parent / "engines")
    yield importlib.import_module("fake_minerl").install(monkeypatch)
    forget()


def build(name, **options):
    return importlib.import_module(MODULES[0]).make(name, **options)


def play(env, names):
    """Results of the steps with these actions."""
    return [env.step(env.actions.index(name)) for name in names]


def sent(fake, key):
    return [action[key] for action in fake.game.actions]


@pytest.mark.parametrize(("name", "count"), [("wood", 12), ("climb", 12), ("diamond", 25)])
def test_spaces_steps_and_seeds(fake, name, count):
    records = []
    for seed in (3, 3, 4):
        env = make(f"minecraft_{name}", {"length": 40, "size": [16, 24]})
        assert spaces(env)[1]["action"].classes == (count,)
        assert spaces(env)[0]["image"].shape == (16, 24, 3)
        actions = random_actions(spaces(env)[1], 100, np.random.default_rng(0))["action"]
        record = [env.reset(seed=seed)[0]]
        for action in actions:
            obs, reward, terminated, truncated, _ = env.step({"action": action})
            assert env.observation_space.contains(obs)
            record += [obs, {"reward": np.float32(reward)}]
            if terminated or truncated:
                record.append(env.reset()[0])
        records.append(record)
        env.close()
    one, same, other = records
    assert all(np.array_equal(a[key], b[key]) for a, b in zip(one, same, strict=True) for key in a)
    assert not np.array_equal(one[0]["image"], other[0]["image"])


@pytest.mark.filterwarnings("ignore:.*is.*infinity")
def test_it_is_a_sound_environment(fake):
    check_env(build("diamond", length=30), skip_render_check=True)
    fake.games[-1].close()
    findings = check("minecraft_diamond", {"length": 50}, steps=100)
    assert not [each for each in findings if each.level != "note"], findings


def test_every_action_reaches_the_game_as_in_the_published_setup(fake):
    env = build("diamond", sticky_jump=0)
    env.reset(seed=0)
    assert env.actions[:12] == (
        *("noop", "attack", "turn_up", "turn_down", "turn_left", "turn_right"),
        *("forward", "back", "left", "right", "jump", "place_dirt"),
    )
    assert env.actions[12:] == tuple(WAYS)
    play(env, env.actions)
    noop = fake.game.action_space.no_op()
    different = [
        {key: value for key, value in action.items() if not np.array_equal(value, noop[key])}
        for action in fake.game.actions
    ]
    assert different == [
        *({}, {"attack": 1}, {"camera": (-15, 0)}, {"camera": (15, 0)}),
        *({"camera": (0, -15)}, {"camera": (0, 15)}, {"forward": 1}, {"back": 1}, {"left": 1}),
        *({"right": 1}, {"jump": 1, "forward": 1}, {"place": "dirt"}),
        *(dict([way]) for way in WAYS.values()),
    ]


def test_the_world_is_that_of_the_published_setup(fake):
    build("wood", break_speed=7.0)
    (speed,) = fake.game.task.agent_start
    (world,) = fake.game.task.server_world_generators
    assert speed.value == 7.0
    assert world.force_reset
    assert [each.name for each in fake.game.task.server_quit_producers] == ["quit"]


def test_attacks_are_held_only_where_blocks_break_slowly(fake):
    env = build("wood", break_speed=1.0)
    env.reset(seed=0)
    play(env, ["attack", *["noop"] * 31])
    assert sent(fake, "attack") == [1] * 30 + [0] * 2
    env.reset()
    fake.game.actions.clear()
    play(env, ["attack", "noop", "attack", *["noop"] * 30])
    assert sent(fake, "attack") == [1] * 32 + [0]
    quick = build("wood", break_speed=100.0)
    env.close()
    quick.reset(seed=0)
    play(quick, ["attack", "noop"])
    assert sent(fake, "attack") == [1, 0]


def test_a_jump_goes_on_and_forward_and_a_held_attack_goes_before_a_new_one(fake):
    env = build("wood")
    env.reset(seed=0)
    play(env, ["jump", *["back"] * 11])
    assert sent(fake, "jump") == sent(fake, "forward") == [1] * 10 + [0] * 2
    env.close()
    slow = build("wood", break_speed=1.0, sticky_attack=3, sticky_jump=2)
    slow.reset(seed=0)
    play(slow, ["attack", "jump", "noop", "jump", "attack", "noop"])
    assert sent(fake, "attack") == [1, 1, 1, 0, 1, 1]
    assert sent(fake, "jump") == [0, 0, 0, 1, 1, 0]


def test_what_is_held_ends_with_the_episode(fake):
    env = build("wood", break_speed=1.0, pitch=15)
    env.reset(seed=0)
    play(env, ["attack", "jump", "turn_up"])
    env.reset()
    fake.game.actions.clear()
    play(env, ["noop", "turn_up"])
    assert sent(fake, "attack") == sent(fake, "jump") == [0, 0]
    assert [tuple(camera) for camera in sent(fake, "camera")] == [(0, 0), (-15, 0)]


def test_the_player_looks_up_and_down_to_a_limit(fake):
    env = build("climb", pitch=30)
    env.reset(seed=0)
    play(env, [*["turn_down"] * 3, *["turn_up"] * 5, "turn_left"])
    pitches = [camera[0] for camera in sent(fake, "camera")]
    assert pitches == [15, 15, 0, -15, -15, -15, -15, 0, 0]
    assert tuple(fake.game.actions[-1]["camera"]) == (0, -15)


def test_observations_are_those_of_the_game(fake):
    env = build("diamond", size=(8, 12))
    first, _ = env.reset(seed=0)
    np.testing.assert_array_equal(first["image"], fake.game.picture)
    assert "log2" not in env.items
    assert "log2" in env.hands
    assert set(env.hands) == {*env.items, "log2", "other"}
    assert first["inventory"].sum() == first["inventory"][env.items.index("air")] == 36
    world = fake.game.world
    world.inventory.update(wooden_pickaxe=1, log=2, log2=3)
    world.life, world.food, world.air = 15.0, 10, -20
    ((found, *_),) = play(env, ["equip_wooden_pickaxe"])
    assert found["inventory"][env.items.index("log")] == 5
    assert env.hands[found["equipped"].argmax()] == "wooden_pickaxe"
    assert found["equipped"].sum() == 1
    assert (found["health"], found["hunger"]) == (0.75, 0.5)
    assert found["breath"] == np.float32(-20 / 300)
    world.inventory.update(log=0, log2=1)
    ((later, *_),) = play(env, ["noop"])
    log = env.items.index("log")
    assert (later["inventory"][log], later["inventory_max"][log]) == (1, 5)
    assert found["inventory"][log] == 5, "observations are not written over"
    np.testing.assert_array_equal(env.render(), later["image"])
    fresh, _ = env.reset()
    np.testing.assert_array_equal(fresh["inventory_max"], fresh["inventory"])


def test_the_way_to_a_diamond_has_twelve_rewards(fake):
    env = build("diamond")
    _, info = env.reset(seed=0)
    names = [key for key in info if key.startswith("log/milestone_")]
    assert len(names) == 12
    assert not any(info.values())
    results = play(env, TO_A_DIAMOND)
    rewards = [reward for _, reward, *_ in results]
    assert sum(rewards) == 12
    assert set(rewards) == {0, 1}
    assert rewards[:9] == [1, *[0] * 7, 1]
    assert [sum(step[-1].values()) for step in results] == list(np.cumsum(rewards))
    assert set(results[-1][-1]) == set(names)
    env.reset()
    assert play(env, ["attack"])[0][1] == 1, "each episode has its own milestones"


def test_wood_counts_every_log_and_no_log_twice(fake):
    env = build("wood")
    env.reset(seed=0)
    assert [reward for _, reward, *_ in play(env, ["attack", "attack", "noop"])] == [1, 1, 0]
    fake.game.world.inventory["log"] = 0
    assert play(env, ["noop"])[0][1] == 0
    fake.game.world.inventory["log2"] += 3
    assert play(env, ["noop"])[0][1] == 3


def test_climbing_is_rewarded_and_falling_costs(fake):
    env = build("climb", sticky_jump=0)
    env.reset(seed=0)
    results = play(env, ["jump", "jump", "back", "noop"])
    assert [reward for _, reward, *_ in results] == [1.25, 1.25, -0.25, 0]


@pytest.mark.parametrize("name", ["wood", "climb", "diamond"])
def test_a_heart_is_worth_a_hundredth(fake, name):
    env = build(name)
    env.reset(seed=0)
    fake.game.world.life = 16.0
    assert play(env, ["noop"])[0][1] == pytest.approx(-0.02)
    fake.game.world.life = 18.0
    assert play(env, ["noop"])[0][1] == pytest.approx(0.01)


def test_the_inventory_is_logged_on_request(fake):
    env = build("wood", logs=True)
    env.reset(seed=0)
    info = play(env, ["attack", "attack"])[-1][-1]
    assert info["log/inventory_log"] == 2
    assert {key for key in info if "inventory" in key} == {
        f"log/inventory_{item}" for item in env.items
    }


def test_death_terminates_and_the_limit_truncates(fake):
    env = build("wood", length=3)
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.step(0)
    for die, ends in ((None, (False, True)), (2, (True, False)), (3, (True, False))):
        env.reset(seed=0)
        for step in range(1, die or 3):
            assert env.step(0)[2:4] == (False, False), step
        if die:
            fake.game.world.life = 0.0
        assert env.step(0)[2:4] == ends
        with pytest.raises(gymnasium.error.ResetNeeded):
            env.step(0)
    assert len(fake.games) == 1, "episodes share one game"
    assert len(set(fake.game.seeds)) == 1, "a seed repeats its world"
    env.reset()
    assert len(set(fake.game.seeds)) == 2, "without one there is a new world"


@pytest.mark.parametrize("fault", ["Connection timed out!", OSError("broken pipe")])
def test_a_game_lost_in_a_step_truncates_and_is_launched_again(fake, fault, caplog):
    env = build("wood")
    env.reset(seed=0)
    ((last, *_),) = play(env, ["attack"])
    fake.faults.append(("step", fault))
    obs, reward, terminated, truncated, _ = play(env, ["attack"])[0]
    assert (reward, terminated, truncated) == (0, False, True)
    assert all(np.array_equal(obs[key], last[key]) for key in obs)
    assert "minecraft_wood: the game failed in step()" in caplog.text
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.step(0)
    env.reset()
    assert [game.closed for game in fake.games] == [True, False]
    assert play(env, ["attack"])[0][1] == 1
    env.close()
    assert fake.game.closed


def test_a_reset_is_tried_again_in_the_same_world(fake):
    fake.faults += [("reset", EOFError("finished unexpectedly")), ("reset", OSError("refused"))]
    env = build("wood")
    obs, _ = env.reset(seed=5)
    assert len(fake.games) == 3
    calm = build("wood")
    env.close()
    np.testing.assert_array_equal(calm.reset(seed=5)[0]["image"], obs["image"])


def test_a_game_that_keeps_failing_is_an_error(fake):
    fake.faults += [("reset", OSError("no display"))] * 3
    env = build("wood")
    with pytest.raises(EngineError, match=r"minecraft_wood.*3 times.*reset.*no display.*Java 8"):
        env.reset(seed=0)
    assert all(game.closed for game in fake.games)
    assert len(fake.games) == 3


def test_failures_add_up_until_the_game_has_run_for_a_while(fake, monkeypatch):
    monkeypatch.setattr(minecraft_engine, "FORGIVEN", 20)
    env = build("wood")
    for steps in (25, 25, 5, 5):
        env.reset(seed=0)
        play(env, ["noop"] * steps)
        fake.faults.append(("step", OSError("gone")))
        if steps == 5 and len(fake.games) == 4:
            break
        assert env.step(0)[3]
    with pytest.raises(EngineError, match="gone"):
        env.step(0)


def test_games_are_launched_in_turns_and_a_dead_process_gives_its_turn_back(tmp_path, monkeypatch):
    monkeypatch.setattr(minecraft_engine.tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(minecraft_engine.os, "sched_getaffinity", lambda pid: {0, 1})
    holds = (
        "import os, sys, tempfile; sys.path[:] = eval(sys.argv[2]); tempfile.tempdir = sys.argv[1];"
        "from reverie.envs.suites.minecraft import engine;"
        "engine.os.sched_getaffinity = lambda pid: {0, 1};"
        "turn = engine.launch_turn(); turn.__enter__(); print('held', flush=True); input()"
    )
    command = [sys.executable, "-c", holds, str(tmp_path), repr(sys.path)]
    other = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    launched = threading.Event()

    def launch():
        with minecraft_engine.launch_turn():
            launched.set()

    with other:
        assert other.stdout.readline() == "held\n"
        thread = threading.Thread(target=launch, daemon=True)
        thread.start()
        assert not launched.wait(0.6)
        other.kill()
    assert launched.wait(60)
    thread.join()


def test_without_the_engine_one_line_says_how_to_get_it(monkeypatch):
    forget()
    monkeypatch.setitem(sys.modules, "minerl", None)
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *rest: None if name == "minerl" else real(name, *rest),
    )
    with pytest.raises(MissingPackageError, match=r"Java 8.*minerl 0\.4\.4.*github\.com") as error:
        make("minecraft_diamond")
    assert "\n" not in str(error.value)


def test_a_minerl_that_cannot_craft_is_refused(fake, monkeypatch):
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "1.0.2")
    with pytest.raises(MissingPackageError, match=r"minerl 1\.0\.2 has no crafting.*0\.4\.4"):
        make("minecraft_wood")


def test_unknown_tasks_name_the_known_ones(fake):
    assert tasks("minecraft") == ["wood", "climb", "diamond"]
    with pytest.raises(UnknownTaskError, match=r"minecraft_gold.*minecraft_wood, minecraft_climb"):
        make("minecraft_gold")
