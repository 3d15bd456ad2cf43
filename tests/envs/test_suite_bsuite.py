"""The behaviour suite: every experiment, seeds, counts and result files."""

import gzip
import struct

import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

package = pytest.importorskip("bsuite")
from bsuite import sweep  # noqa: E402
from bsuite.logging import csv_load  # noqa: E402
from bsuite.utils import datasets  # noqa: E402

from reverie.config.load import load  # noqa: E402
from reverie.config.sections.env import BsuiteConfig  # noqa: E402
from reverie.envs.check import check  # noqa: E402
from reverie.envs.errors import MissingDataError, UnknownTaskError  # noqa: E402
from reverie.envs.flat.conform import spaces  # noqa: E402
from reverie.envs.flat.leaves import random_actions  # noqa: E402
from reverie.envs.registry import make, tasks  # noqa: E402
from reverie.envs.suites import bsuite  # noqa: E402

EXPERIMENTS = dict.fromkeys(name.partition("/")[0] for name in sweep.SWEEP)
PLAYABLE = [name for name in EXPERIMENTS if not name.startswith("mnist")]

STILL = {"bandit", "bandit_scale", "deep_sea", "discounting_chain"}
"""Experiments whose first setting has nothing random but what the setting itself names."""


def play(env, steps=120, seed=0, rng=0):
    actions = random_actions(spaces(env)[1], steps, np.random.default_rng(rng))["action"]
    record = [(env.reset(seed=seed)[0]["obs"], 0.0, False, False, {})]
    for action in actions:
        if record[-1][2] or record[-1][3]:
            record.append((env.reset()[0]["obs"], 0.0, False, False, {}))
        else:
            obs, *rest = env.step({"action": action})
            record.append((obs["obs"], *rest))
            assert env.observation_space.contains(obs)
    return record


def same(one, two):
    return all(np.array_equal(a[0], b[0]) and a[1:] == b[1:] for a, b in zip(one, two, strict=True))


def test_there_are_twenty_experiments_without_a_download():
    assert len(EXPERIMENTS) == 23
    assert len(PLAYABLE) == 20
    assert len(tasks("bsuite")) == len(sweep.SWEEP) == 468


@pytest.mark.parametrize("name", PLAYABLE)
def test_random_steps_stay_in_the_spaces_and_repeat_under_a_seed(name):
    settings = [each for each in sweep.SWEEP if each.startswith(f"{name}/")]
    for setting in (settings[0], settings[-1]):
        records = [play(make(f"bsuite_{setting}"), seed=seed) for seed in (0, 0, 1)]
        assert same(*records[:2])
        assert same(records[0], records[2]) == (name in STILL)


@pytest.mark.parametrize("name", PLAYABLE)
def test_it_is_the_experiment_of_the_package(name):
    """The same observations, rewards and ends as the package's own loading gives."""
    env, own = bsuite.make(f"{name}/3"), package.load_from_id(f"{name}/3")
    env.reset(seed=0)
    for ours, theirs in zip(layers(env._inner), layers(own), strict=True):
        if "_rng" in ours:
            theirs["_rng"].set_state(ours["_rng"].get_state())
    rng, terminated = np.random.default_rng(0), True
    for _ in range(200):
        if terminated:
            np.testing.assert_array_equal(env.reset()[0], own.reset().observation)
        action = rng.integers(env.action_space.n)
        obs, reward, terminated, truncated, _ = env.step(action)
        found = own.step(action)
        np.testing.assert_array_equal(obs, found.observation)
        assert reward == found.reward
        assert (terminated, truncated) == (found.last(), False)


def layers(env):
    found = []
    while env is not None:
        found.append(vars(env))
        env = vars(env).get("_env")
    return found


def test_actions_and_observations_of_catch():
    obs, act = spaces(make("bsuite_catch/0"))
    assert {key: (space.kind, space.shape) for key, space in obs.items()} == {
        "obs": ("continuous", (10, 5))
    }
    assert act["action"].classes == (3,)


def test_episodes_terminate():
    record = play(make("bsuite_catch/0"))
    assert [index for index, step in enumerate(record[:21]) if step[2]] == [9, 19]
    assert {step[1] for step in record if step[2]} == {-1.0, 1.0}
    assert not any(step[3] for step in record)


def test_the_counts_of_the_experiment_are_logged():
    record = play(make("bsuite_catch/0"))
    regret = record[119][4]["log/total_regret"]
    assert regret == sum(1 - step[1] for step in record if step[2])
    assert regret > 0
    assert set(play(make("bsuite_cartpole/0"), 3)[-1][4]) == {"log/raw_return", "log/best_episode"}


def test_a_setting_keeps_what_it_names():
    """The arms of a bandit belong to the setting, not to the seed."""

    def arms(setting, seed):
        env = bsuite.make(setting)
        env.reset(seed=seed)
        rewards = []
        for arm in range(11):
            rewards.append(env.step(arm)[1])
            env.reset()
        return rewards

    assert arms("bandit/0", 0) == arms("bandit/0", 1)
    assert arms("bandit/0", 0) != arms("bandit/1", 0)
    assert sorted(arms("bandit/0", 0)) == pytest.approx([n / 10 for n in range(11)])


def test_counts_survive_a_reset_with_a_seed():
    env = make("bsuite_bandit/0")
    play(env, 20)
    env.reset(seed=3)
    assert env.step({"action": np.int32(0)})[4]["log/total_regret"] > 3


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("cach/0", "bsuite_catch/0"),
        ("catch/20", "setting '20'.*bsuite_catch/0 to bsuite_catch/19"),
        ("catch", "no setting, as none is named"),
        ("nothing_like_it/0", "It has bandit"),
    ],
)
def test_unknown_experiments_name_the_nearest(name, words):
    with pytest.raises(UnknownTaskError, match=words) as error:
        make(f"bsuite_{name}")
    assert "\n" not in str(error.value)


@pytest.fixture
def mnist(monkeypatch, tmp_path):
    """Where bsuite looks for the data set, an empty folder that it must not fill."""

    def no_download(*args):
        raise AssertionError(f"{args} should have been downloaded")

    monkeypatch.setattr(datasets.load_mnist, "__defaults__", (str(tmp_path),))
    monkeypatch.setattr(datasets, "urlretrieve", no_download)
    return tmp_path


@pytest.mark.parametrize("name", ["mnist", "mnist_noise", "mnist_scale"])
def test_experiments_without_their_data_say_so(mnist, name):
    with pytest.raises(MissingDataError, match="needs the MNIST data set") as error:
        make(f"bsuite_{name}/0")
    assert "\n" not in str(error.value)
    assert str(mnist) in str(error.value)


def test_experiments_with_their_data_run(mnist):
    rng = np.random.default_rng(0)
    for part, count in (("train", 9), ("t10k", 3)):
        header = struct.pack(">IIII", 2051, count, 28, 28)
        pixels = rng.integers(0, 100, count * 28 * 28).astype(np.uint8).tobytes()
        with gzip.open(mnist / f"{part}-images-idx3-ubyte.gz", "wb") as file:
            file.write(header + pixels)
        with gzip.open(mnist / f"{part}-labels-idx1-ubyte.gz", "wb") as file:
            file.write(struct.pack(">II", 2049, count) + bytes(range(count)))
    record = play(make("bsuite_mnist/0"))
    assert record[0][0].shape == (28, 28)
    assert {step[1] for step in record if step[2]} == {-1.0, 1.0}


def read(folder):
    return csv_load.load_one_result_set(str(folder))


def test_results_are_written_as_the_package_reads_them(tmp_path):
    env = make("bsuite_catch/2", {"record": True, "folder": str(tmp_path / "results")})
    record = play(env, 110)
    rows = read(tmp_path / "results" / "0")
    assert rows["bsuite_id"].unique().tolist() == ["catch/2"]
    assert rows["episode"].tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11][: len(rows)]
    ends = [step[1] for step in record if step[2]]
    assert rows["episode_return"].tolist() == ends[: len(rows)]
    assert rows["steps"].tolist()[:3] == [9, 18, 27]


def test_each_environment_has_a_folder_of_its_own(tmp_path):
    envs = [make("bsuite_bandit/0", {"record": True, "folder": str(tmp_path)}) for _ in range(3)]
    assert list(tmp_path.iterdir()) == []
    for length, env in enumerate(envs, 2):
        play(env, 2 * length)
    assert [len(read(tmp_path / str(index))) for index in range(3)] == [2, 3, 4]


def test_nothing_is_written_unless_asked(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = BsuiteConfig().model_dump()
    assert options == {"record": False, "folder": ""}
    play(make("bsuite_catch/0", options))
    play(make("bsuite_catch/0", {"folder": str(tmp_path / "results")}))
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ValueError, match="`folder`"):
        make("bsuite_catch/0", {"record": True})


@pytest.mark.parametrize("folder", ["", "elsewhere"])
def test_a_run_records_its_training_and_not_its_evaluation(tmp_path, folder):
    from reverie.run.scripts import launch

    logdir = tmp_path / "run"
    words = ["--configs", "debug", "--task", "bsuite_bandit/1", "--logger.outputs", "jsonl"]
    words += ["--random_agent", "true", "--env.bsuite.record", "true", "--run.steps", "60"]
    words += ["--run.final_eval_eps", "4", "--logdir", str(logdir)]
    if folder:
        words += ["--env.bsuite.folder", str(tmp_path / folder)]
    launch(load(words))
    results = tmp_path / folder if folder else logdir / "bsuite"
    assert sorted(path.name for path in results.iterdir()) == ["0", "1"]
    # Every other of the 30 steps of an environment is a reset, and after 12 comes a row for 14.
    assert read(results / "0")["episode"].max() == 14


def test_the_checks_find_nothing():
    for name in ("catch/0", "memory_len/5", "deep_sea_stochastic/2", "cartpole_noise/1"):
        assert [str(f) for f in check(f"bsuite_{name}") if f.level != "note"] == []


@pytest.mark.filterwarnings("ignore:.*(Box|observation|render).*:UserWarning")
def test_the_check_of_gymnasium_finds_nothing():
    check_env(bsuite.make("umbrella_length/3"), skip_render_check=True)
