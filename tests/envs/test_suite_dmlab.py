"""The adapter for DeepMind Lab.

The engine has to be built from source, with tools that the test machines do not have, so it is not
run here: a stand-in with its interface takes its place (`engines/deepmind_lab.py`).
"""

import importlib
import importlib.util
import pathlib
import sys

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from reverie.catalog import SUITES
from reverie.config.load import load
from reverie.envs.check import check
from reverie.envs.errors import MissingPackageError, UnknownTaskError
from reverie.envs.flat.conform import spaces
from reverie.envs.flat.leaves import random_actions
from reverie.envs.registry import factory_of, make, tasks
from reverie.envs.vector.vector import VectorEnv

MODULES = ("deepmind_lab", "reverie.envs.suites.dmlab.env")
FORWARD = 0


@pytest.fixture(autouse=True)
def engine(monkeypatch):
    """The stand-in, where `import deepmind_lab` finds it, also in other processes."""
    for name in MODULES:
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.syspath_prepend(pathlib.Path(__file__).parent / "engines")
    yield importlib.import_module("deepmind_lab")
    for name in MODULES:
        sys.modules.pop(name, None)


@pytest.fixture
def suite(engine):
    return importlib.import_module("reverie.envs.suites.dmlab.env")


def play(env, steps, seed=0, rng=0):
    """Observations, rewards and flags of random actions, with the first observation in front."""
    actions = random_actions(spaces(env)[1], steps, np.random.default_rng(rng))["action"]
    record = [(env.reset(seed=seed)[0], 0.0, False, False)]
    for action in actions:
        if record[-1][2] or record[-1][3]:
            record.append((env.reset()[0], 0.0, False, False))
        else:
            record.append(env.step({"action": action})[:4])
        assert env.observation_space.contains(record[-1][0])
    return record


def same(one, two):
    return all(
        a[1:] == b[1:] and all(np.array_equal(a[0][key], b[0][key]) for key in a[0])
        for a, b in zip(one, two, strict=True)
    )


@pytest.mark.parametrize("name", ["rooms_watermaze", "language_select_located_object"])
def test_random_steps_stay_in_the_spaces_and_repeat_under_a_seed(name):
    env = make(f"dmlab_{name}")
    record = play(env, 200)
    assert sum(step[2] for step in record) == 3
    assert same(record, play(make(f"dmlab_{name}"), 200))
    # The engine has counted three episodes meanwhile.
    assert same(record, play(env, 200))
    assert not same(record, play(env, 200, seed=1))
    env.close()


def test_all_levels_of_dmlab30_are_named_as_the_engine_names_them(engine):
    names = tasks("dmlab")
    families = ("explore", "language", "lasertag", "natlab", "psychlab", "rooms", "skymaze")
    counts = [sum(name.startswith(f"{family}_") for name in names) for family in families]
    assert counts == [8, 4, 4, 3, 4, 7, 2]
    for name in names[:32]:
        make(f"dmlab_{name}")
        assert engine.made[-1].level == f"contributed/dmlab30/{name}"
    assert len(set(names)) == 44


@pytest.mark.parametrize(
    ("name", "options", "level", "held_out"),
    [
        ("rooms_watermaze", {}, "contributed/dmlab30/rooms_watermaze", False),
        ("rooms_watermaze", {"held_out": True}, "contributed/dmlab30/rooms_watermaze", True),
        ("rooms_collect_good_objects", {}, "X_train", False),
        ("rooms_collect_good_objects_train", {}, "X_train", False),
        ("rooms_collect_good_objects_test", {}, "X_test", True),
        ("rooms_collect_good_objects", {"held_out": True}, "X_test", True),
        ("rooms_collect_good_objects_train", {"held_out": True}, "X_test", True),
        ("seekavoid_arena_01", {}, "seekavoid_arena_01", False),
        ("contributed/dmlab30/rooms_watermaze", {}, "contributed/dmlab30/rooms_watermaze", False),
        ("contributed/dmlab30/rooms_collect_good_objects_test", {}, "X_test", True),
    ],
)
def test_levels_and_their_held_out_variants(engine, name, options, level, held_out):
    make(f"dmlab_{name}", options)
    lab = engine.made[-1]
    assert lab.level == level.replace("X", "contributed/dmlab30/rooms_collect_good_objects")
    assert lab.config.get("allowHoldOutLevels") == ("true" if held_out else None)
    assert lab.config["mixerSeed"] == (str(0x600D5EED) if held_out else "0")


@pytest.mark.parametrize(("actions", "count"), [("impala", 9), ("popart", 15)])
def test_action_sets(engine, actions, count):
    env = make("dmlab_rooms_watermaze", {"actions": actions})
    assert spaces(env)[1]["action"].classes == (count,)
    env.reset(seed=0)
    for action in range(count):
        env.step({"action": np.int32(action)})
    sent = [call[1] for call in engine.made[-1].calls if call[0] == "step"]
    assert len({tuple(raw) for raw in sent}) == count
    walk = [raw[2:4] for raw in sent[:4]]
    assert walk == [[0, 1], [0, -1], [-1, 0], [1, 0]]
    assert sent[-1] == [0, 0, 0, 0, 1, 0, 0]
    turns = {"impala": {-20, 20}, "popart": {-10, 10, -60, 60}}[actions]
    for move in (0, 1):
        assert {raw[0] for raw in sent if raw[0] and raw[3] == move} == turns
    assert {raw[1] for raw in sent} == ({0} if actions == "impala" else {-10, 0, 10})


def test_repeat_is_done_by_the_engine(engine):
    env = make("dmlab_rooms_watermaze", {"repeat": 6})
    env.reset(seed=0)
    assert env.step({"action": np.int32(FORWARD)})[1] == 6.0
    assert engine.made[-1].calls[-1] == ("step", [0, 0, 0, 1, 0, 0, 0], 6)


@pytest.mark.parametrize("episodic", [True, False])
def test_an_episode_ends_by_termination_or_goes_on_in_value(engine, episodic):
    env = make("dmlab_language_select_located_object", {"episodic": episodic})
    record = [env.reset(seed=0)]
    while True:
        before = record[-1][0]
        record.append(env.step({"action": np.int32(FORWARD)}))
        if record[-1][2] or record[-1][3]:
            break
    # 242 frames are 60 steps of four and one of two.
    assert len(record) == 62
    assert record[-1][1:4] == (2.0, episodic, not episodic)
    for key, value in record[-1][0].items():
        np.testing.assert_array_equal(value, before[key])
    with pytest.raises(gymnasium.error.ResetNeeded, match="also after an episode"):
        env.step({"action": np.int32(FORWARD)})
    assert not np.array_equal(env.reset()[0]["image"], record[0][0]["image"])


def test_later_episodes_have_seeds_of_their_own_and_numbers_of_the_engine(engine):
    env = make("dmlab_rooms_watermaze")
    env.reset(seed=0)
    env.reset()
    env.reset()
    env.reset(seed=0)
    calls = engine.made[-1].calls
    assert [call[1] for call in calls] == [0, -1, -1, 0]
    assert len({call[2] for call in calls}) == 3
    assert calls[0] == calls[3]


def test_without_seeds_every_episode_is_new():
    env = make("dmlab_rooms_watermaze", {"use_seed": False})
    other = make("dmlab_rooms_watermaze", {"use_seed": False})
    images = [each.reset(seed=0)[0]["image"].tobytes() for each in (env, env, other)]
    assert len(set(images)) == 3


def test_instructions_are_observed_where_they_are_wanted():
    for name, instructions, expected in (
        ("rooms_watermaze", "auto", False),
        ("rooms_watermaze", "always", True),
        ("language_execute_random_task", "auto", True),
        ("language_execute_random_task", "never", False),
        ("contributed/dmlab30/language_execute_random_task", "auto", True),
    ):
        env = make(f"dmlab_{name}", {"instructions": instructions})
        obs, _ = env.reset(seed=0)
        assert ("instruction" in obs) is expected
        if expected:
            assert obs["instruction"].shape == (32, 32)
            assert obs["instruction"].any() == name.rpartition("/")[2].startswith("language")


def test_the_text_itself_is_in_the_info(engine, suite):
    env = suite.make("language_select_located_object")
    found = [env.reset(seed=seed) for seed in range(8)]
    assert {info["instruction"] for _, info in found} == set(engine.SENTENCES)
    distinct = {(info["instruction"], obs["instruction"].tobytes()) for obs, info in found}
    assert len(distinct) == 2


def test_words_become_fixed_numbers_of_unit_variance():
    from reverie.envs.suites.dmlab.text import BOUND, embed

    one = embed("Pick the red object.")
    np.testing.assert_array_equal(one, embed("  pick THE red  object ."))
    assert [bool(row.any()) for row in one] == [True] * 5 + [False] * 27
    np.testing.assert_array_equal(one[2], embed("red")[0])
    # The first bytes of the hash of "red", as any implementation of SHAKE-256 gives them.
    raw = np.array([72, 77, 56, 98], np.float64)
    np.testing.assert_allclose(one[2, :4], (raw - 127.5) / np.sqrt(5461.25), rtol=1e-6)
    rows = embed(" ".join(f"word{i}" for i in range(32)))
    assert abs(rows.mean()) < 0.1
    assert rows.var() == pytest.approx(1, abs=0.1)
    assert np.abs(rows).max() <= np.float32(BOUND)
    overlap = rows @ rows.T / 32
    assert np.abs(overlap - np.diag(np.diag(overlap))).max() < 0.8
    np.testing.assert_array_equal(embed("a " * 50), embed("a " * 32))
    assert not embed("").any()


def test_compiled_maps_are_kept_on_disk_and_shared(engine, tmp_path):
    folder = tmp_path / "new" / "maps"
    for _ in range(2):
        env = make("dmlab_explore_goal_locations_small", {"level_cache": str(folder)})
        env.reset(seed=0)
        env.reset()
    assert [lab.compiled for lab in engine.made[-2:]] == [2, 0]
    assert len(list(folder.iterdir())) == 2
    make("dmlab_explore_goal_locations_small").reset(seed=0)
    assert engine.made[-1].level_cache is None
    assert engine.made[-1].compiled == 1


def test_keys_of_maps_cannot_leave_the_folder(tmp_path):
    from reverie.envs.suites.dmlab.cache import LevelCache

    cache = LevelCache(tmp_path / "maps")
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_text("a map")
    assert cache.fetch("../../key", str(target)) is False
    assert not target.exists()
    cache.write("../../key", str(source))
    assert cache.fetch("../../key", str(target)) is True
    assert target.read_text() == "a map"
    assert len(list((tmp_path / "maps").iterdir())) == 1


def test_settings_reach_the_engine(engine, tmp_path):
    options = {"size": [48, 96], "renderer": "hardware", "dataset": str(tmp_path)}
    env = make("dmlab_psychlab_continuous_recognition", options)
    assert env.reset(seed=0)[0]["image"].shape == (48, 96, 3)
    lab = engine.made[-1]
    assert (lab.renderer, lab.config["datasetPath"]) == ("hardware", str(tmp_path))
    make("dmlab_psychlab_continuous_recognition")
    assert engine.made[-1].renderer == "software"
    assert "datasetPath" not in engine.made[-1].config


def test_the_options_of_the_configuration_are_those_of_the_suite():
    loaded = load(configs=["dmlab"])
    env = make(loaded.task, loaded.env.dmlab.model_dump())
    assert env.unwrapped.task_name == "dmlab_explore_goal_locations_small"
    assert spaces(env)[1]["action"].classes == (15,)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("rooms_watermase", "dmlab_rooms_watermaze"),
        ("rooms_watermaze_test", "dmlab_rooms_watermaze"),
        ("nothing_like_it_at_all", "game_scripts/levels"),
    ],
)
def test_unknown_levels_name_the_nearest(name, words):
    with pytest.raises(UnknownTaskError, match=words) as error:
        make(f"dmlab_{name}")
    assert "\n" not in str(error.value)


def test_errors_of_the_engine_name_the_level_in_one_line():
    with pytest.raises(RuntimeError, match=r"the level 'my/level'.*Level not found") as error:
        make("dmlab_my/level")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"repeat": 0}, "repeat = 0"),
        ({"actions": "all"}, "actions = 'all'.*impala"),
        ({"instructions": "auto "}, "instructions = 'auto '.*always"),
        ({"renderer": "egl"}, "renderer = 'egl'.*hardware"),
        ({"dataset": "/no/such/folder"}, "dataset='/no/such/folder'"),
        ({"level_cache": __file__ + "/maps"}, r"level_cache=.*maps'.*cannot be made"),
    ],
)
def test_settings_that_cannot_be_are_refused(options, words):
    with pytest.raises(ValueError, match=words):
        make("dmlab_rooms_watermaze", options)


def test_a_missing_reset_is_an_error(suite):
    env = suite.make("rooms_watermaze")
    for call in (lambda: env.step(0), env.render):
        with pytest.raises(gymnasium.error.ResetNeeded, match="Call reset"):
            call()
    obs, _ = env.reset(seed=0)
    np.testing.assert_array_equal(env.render(), obs["image"])


def test_without_the_engine_one_line_says_how_to_get_it(monkeypatch):
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *rest: None if name == "deepmind_lab" else real(name, *rest),
    )
    assert not SUITES["dmlab"].installed
    with pytest.raises(MissingPackageError, match="build it as https://github") as error:
        make("dmlab_rooms_watermaze")
    assert "\n" not in str(error.value)
    assert "pip install" not in str(error.value)


def test_the_checks_find_nothing():
    for name in ("rooms_watermaze", "language_answer_quantitative_question"):
        found = check(f"dmlab_{name}", steps=150)
        assert [str(f) for f in found if f.level != "note"] == []


@pytest.mark.filterwarnings("ignore:.*(Box|observation|render).*:UserWarning")
def test_it_passes_the_check_of_gymnasium(suite):
    check_env(suite.make("language_execute_random_task"), skip_render_check=True)


def test_it_runs_in_processes():
    factories = [factory_of("dmlab_rooms_watermaze")] * 2
    with VectorEnv(factories, "async", 0) as vector:
        first = vector.reset()["image"]
        transition = vector.step({"action": np.zeros(2, np.int32)})
    assert transition["reward"].tolist() == [4.0, 4.0]
    assert not np.array_equal(first[0], first[1])
