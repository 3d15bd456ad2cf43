"""Native vector environments of suites: Atari and ProcGen."""

import itertools

import numpy as np
import pytest

from reverie.config import ConfigError, load
from reverie.envs import VectorEnv, factory_of, make, make_vec, random_actions, spaces
from reverie.envs.batched import BatchedVectorEnv
from reverie.run import EnvSource
from reverie.run.build import vector_env

AGREE = {"resize": "area", "sticky": False, "noops": 0}


def atari(task, options, num=1, seed=0):
    """Games in ALE's vector environment."""
    pytest.importorskip("ale_py")
    engine = make_vec(task, num, {**options, "backend": "native"}, seed=seed)
    return VectorEnv([None] * num, "native", seed, engine=engine)


def play(vector, steps, rng=0):
    rng = np.random.default_rng(rng)
    record = [vector.reset()]
    for _ in range(steps):
        record.append(vector.step(random_actions(vector.act_space, vector.num_envs, rng)))
    return record


def same(one, two):
    return all(
        a.keys() == b.keys() and all(np.array_equal(a[key], b[key], equal_nan=True) for key in a)
        for a, b in zip(one, two, strict=True)
    )


@pytest.mark.parametrize(
    ("task", "options", "steps"),
    [
        # Episodes of about 170 steps, with five lives.
        ("atari_breakout", {"lives": "discount", "size": [64, 64]}, 400),
        ("atari_breakout", {"pooling": 1, "size": [84, 84]}, 200),
        ("atari100k_breakout", {"clip_reward": True}, 300),
        ("atari_ms_pacman", {"repeat": 2, "size": [210, 160], "clip_reward": True}, 60),
        # It draws its shots on every second frame only.
        ("atari_space_invaders", {"actions": "needed", "size": [40, 100]}, 100),
    ],
)
def test_native_and_process_agree(task, options, steps):
    native = atari(task, {**AGREE, **options}, 2)
    process = VectorEnv([factory_of(task, {**AGREE, **options})] * 2, "sync", 0)
    assert (native.obs_space, native.act_space) == (process.obs_space, process.act_space)
    records = play(native, steps), play(process, steps)
    for one, two in zip(*records, strict=True):
        assert one.keys() == two.keys()
        for key in one.keys() - {"image"}:
            np.testing.assert_array_equal(one[key], two[key], err_msg=key)
        difference = np.abs(one["image"].astype(int) - two["image"])
        # Of a step that a game does not finish, ALE draws frames of the step before.
        assert difference[~two["is_last"]].max(initial=0) <= 1
        assert difference.mean() < 1
    if "breakout" in task:
        assert sum(step["is_last"].sum() for step in records[1]) >= 2
        assert sum(step["reward"].sum() for step in records[1]) > 0
    if options.get("lives") == "discount":
        assert sum(step["log/is_terminal"].sum() for step in records[0]) >= 8
    native.close()
    process.close()


def test_the_frame_limit_of_native_games_truncates():
    pytest.importorskip("ale_py")
    from reverie.envs.suites.atari_native import AtariEngine

    engine = AtariEngine("atari", "pong", 2, limit=50, **AGREE)
    with VectorEnv([None] * 2, "native", 0, engine=BatchedVectorEnv(engine, [0, 1])) as vector:
        record = play(vector, 28)
    assert [i for i, step in enumerate(record) if step["is_last"].all()] == [13, 27]
    assert not any(step["is_terminal"].any() for step in record)


def test_native_lives_end_episodes_and_the_game_goes_on():
    options = {**AGREE, "lives": "reset", "actions": "needed", "size": [84, 84]}
    native = atari("atari_breakout", options)
    record = play(native, 400)
    last = [i for i, step in enumerate(record) if step["is_last"][0]]
    assert all(record[i]["is_terminal"][0] for i in last)
    firsts = [record[i + 1]["image"][0].astype(int) for i in last if i + 1 < len(record)]
    start = record[0]["image"][0].astype(int)
    # A new game looks like the first one; a new life shows another count and fewer bricks.
    fresh = [np.abs(image - start).max() <= 1 for image in firsts]
    assert fresh[:5] == [False, False, False, False, True]


def test_native_random_numbers():
    def record(seed, **options):
        options = {**AGREE, "size": [16, 16], **options}
        with atari("atari_pong", options, 1, seed) as native:
            return play(native, 40)

    random = record(0, sticky=True, noops=30)
    assert same(random, record(0, sticky=True, noops=30))
    assert not same(random, record(1, sticky=True, noops=30))
    assert not same(record(0, sticky=True), record(1, sticky=True))
    assert not same(record(0, noops=30), record(1, noops=30))
    assert same(record(0), record(1))


def test_native_no_ops_are_drawn_from_nothing_to_their_limit():
    pytest.importorskip("ale_py")
    from reverie.envs.suites.atari_native import AtariEngine

    engine = AtariEngine("atari", "pong", 8, **{**AGREE, "noops": 3})
    engine.reset(range(8))
    frames = set()
    for _ in range(4):
        frames |= set(engine._engine.reset()[1]["episode_frame_number"].tolist())
    assert frames == {0, 1, 2, 3}


def test_native_autostart_serves_the_ball():
    def lives_lost(autostart):
        options = {**AGREE, "autostart": autostart, "lives": "discount", "size": [16, 16]}
        native = atari("atari_breakout", options)
        native.reset()
        still = {"action": np.zeros(1, np.int32)}
        return sum(native.step(still)["log/is_terminal"][0] for _ in range(60))

    assert lives_lost(True) == 1
    assert lives_lost(False) == 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"resize": "bilinear"}, "env.atari.resize is 'bilinear'.*set env.atari.resize area, or"),
        ({"aggregate": "mean"}, "env.atari.aggregate is 'mean'.*set env.atari.aggregate max, or"),
        (
            {"pooling": 3},
            "env.atari.pooling is 3.*set env.atari.pooling 2, or env.atari.backend pr",
        ),
        ({"repeat": 1}, "env.atari.pooling is 2.*set env.atari.pooling 1, or"),
        ({"size": [84, 200]}, r"env.atari.size is \[84, 200\].*size 210 160 or less, or"),
        ({"backend": "threads"}, "backend='threads': choose one of process, native"),
    ],
)
def test_settings_that_native_cannot_do_are_refused(options, words):
    pytest.importorskip("ale_py")
    options = {**AGREE, "backend": "native", **options}
    with pytest.raises(ValueError, match=words) as caught:
        make("atari_pong", options)
    assert "\n" not in str(caught.value)
    if options["backend"] == "native":
        with pytest.raises(ValueError, match=words):
            make_vec("atari_pong", 2, options)


def test_the_configuration_chooses_native_games():
    pytest.importorskip("ale_py")
    words = ["--task", "atari_pong", "--run.envs", "2"]
    native = ["--env.atari.backend", "native", "--env.atari.resize", "area"]

    def choice(*more):
        config = load([*words, *more])
        source = EnvSource(config.task, config.env, filmed="--filmed" in more)
        with vector_env(source, config.run, 0) as vector:
            assert vector.reset()["image"].shape == (2, 96, 96, 1)
            return vector.backend

    assert choice(*native) == "native"
    assert choice(*native, "--run.env_backend", "native") == "native"
    assert choice() != "native"
    with pytest.raises(ConfigError, match="'atari_pong' with its settings has no engine"):
        choice("--run.env_backend", "native")
    with pytest.raises(
        ConfigError, match=r"env.atari.backend = native needs run.env_backend = auto"
    ):
        load([*words, *native, "--run.env_backend", "sync"])
    # Other suites do not mind.
    load(["--task", "dummy_disc", *native, "--run.env_backend", "sync"])


def test_filming_takes_single_environments():
    pytest.importorskip("ale_py")
    words = ["--task", "atari_pong", "--env.atari.backend", "native", "--env.atari.resize", "area"]
    config = load([*words, "--run.env_backend", "native", "--run.envs", "1"])
    with vector_env(EnvSource(config.task, config.env, filmed=True), config.run, 0) as vector:
        assert vector.reset()["log/video"].shape == (1, 96, 96, 1)
        assert vector.backend == "sync"


SMALL = {"size": [64, 64]}


def procgen(task, num, seed=0, **options):
    pytest.importorskip("gym3")
    pytest.importorskip("reverie.envs.suites.procgen", exc_type=ImportError)
    options = {**SMALL, **options}
    engine = make_vec(task, num, options, seed=seed)
    return VectorEnv([factory_of(task, options)] * num, "native", seed, engine=engine)


@pytest.mark.parametrize("num", [1, 2, 4])
def test_procgen_episodes(num):
    with procgen("procgen_maze", num) as vector:
        assert (vector.obs_space, vector.act_space) == spaces(make("procgen_maze", SMALL))
        record = play(vector, 1100)
        again = play(vector, 1100)
    assert same(record, again)
    lengths, count = [], np.zeros(num, int)
    for before, step in itertools.pairwise(record):
        np.testing.assert_array_equal(step["is_first"], before["is_last"])
        assert not step["reward"][step["is_first"]].any()
        count = np.where(step["is_first"], 0, count + 1)
        lengths += [
            (n, end)
            for n, last, end in zip(count, step["is_last"], step["is_terminal"], strict=True)
            if last
        ]
        # A maze rewards its goal, and nothing else.
        np.testing.assert_array_equal(step["reward"] > 0, step["is_terminal"])
        ends = step["is_last"]
        np.testing.assert_array_equal(step["image"][ends], before["image"][ends])
        starts = step["is_first"]
        assert (step["image"][starts] != before["image"][starts]).any((1, 2, 3)).all()
    assert any(terminal for _, terminal in lengths)
    # The time limit of a maze is 500 steps, and is no termination.
    assert all((n == 500) != terminal for n, terminal in lengths)
    assert any(n == 500 for n, _ in lengths)


def test_procgen_environments_and_seeds_differ():
    with procgen("procgen_coinrun", 4) as vector, procgen("procgen_coinrun", 4, seed=1) as other:
        images = [*vector.reset()["image"], *other.reset()["image"]]
    assert len({image.tobytes() for image in images}) == 8


def test_procgen_levels_are_limited():
    with procgen("procgen_coinrun", 4, num_levels=1, start_level=5) as vector:
        images = vector.reset()["image"]
    assert len({image.tobytes() for image in images}) == 1


def test_procgen_has_one_engine_for_its_own_image_size_only():
    procgen("procgen_maze", 1).close()
    assert make_vec("procgen_maze", 2, {"size": [96, 96]}) is None
    assert make_vec("procgen_maze", 2) is None
