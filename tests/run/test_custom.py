"""What users may pass as environment, and what becomes of it."""

import functools
import importlib
import re
import subprocess
import sys
import types

import cloudpickle
import gymnasium
import numpy as np
import pytest
from gymnasium import spaces as gs

import reverie
from reverie.config.load import load
from reverie.envs.errors import OptionError, WorkerError
from reverie.envs.registry import factory_of, make
from reverie.envs.vector.vector import VectorEnv
from reverie.errors import ConfigError
from reverie.run.environments import custom
from reverie.run.environments.source import EnvSource
from reverie.track.sinks.jsonl import read_jsonl


class Counting(gymnasium.Env):
    """Episodes of `length` steps."""

    observation_space = gs.Box(-1, 1, (2,), np.float32)
    action_space = gs.Box(-1, 1, (1,), np.float32)

    def __init__(self, length=5):
        self.length = length

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.time = 0
        return np.zeros(2, np.float32), {}

    def step(self, action):
        self.time += 1
        return np.zeros(2, np.float32), 1.0, self.time >= self.length, False, {}


class FromArguments(Counting, gymnasium.utils.EzPickle):
    """Is pickled as its arguments, as environments around C++ are."""

    def __init__(self, length=5):
        gymnasium.utils.EzPickle.__init__(self, length)
        super().__init__(length)


class Attached(Counting):
    """Cannot be copied."""

    def __init__(self):
        super().__init__()
        self.connection = (_ for _ in ())


class Half(gymnasium.RewardWrapper):
    def reward(self, reward):
        return 0.5 * reward


def factory(env):
    made = custom.resolve(env).custom
    assert made is not None
    return made


def test_others_like_an_instance_are_made_and_are_independent():
    env = Counting(length=7)
    env.reset()
    one, two = factory(env)(), factory(env)()
    assert type(one.unwrapped) is Counting
    assert one.unwrapped is not two.unwrapped
    assert env not in (one.unwrapped, two.unwrapped)
    assert one.unwrapped.length == 7


def test_what_was_set_on_an_instance_is_kept():
    env = gymnasium.make("CartPole-v1")
    env.unwrapped.gravity = 3.0
    assert factory(env)().unwrapped.gravity == 3.0


@pytest.mark.parametrize("used", [False, True])
def test_an_instance_of_gymnasium_is_made_by_gymnasium(used):
    env = gymnasium.make("CartPole-v1", max_episode_steps=9)
    if used:
        env.action_space.sample()
        env.reset()
        env.step(0)
    source = custom.resolve(env)
    assert not source.limits
    assert factory(env)().spec.max_episode_steps == 9
    assert "gymnasium.make" in source.note


def test_a_wrapper_of_ones_own_is_kept():
    env = factory(Half(gymnasium.make("CartPole-v1")))()
    env.reset()
    assert env.step(0)[1] == 0.5


def test_what_a_copy_would_lose_makes_the_instance_the_only_one():
    env = FromArguments(length=3)
    assert not custom.resolve(env).limits
    env.length = 4
    source = custom.resolve(env)
    assert source.limits["envs"] == 1
    assert "lose what was set as length" in source.note
    assert factory(env)().unwrapped is env


def test_an_instance_that_cannot_be_copied_is_the_only_one():
    source = custom.resolve(Attached())
    assert source.limits["envs"] == 1
    assert "copying it fails with TypeError" in source.note


def test_the_only_environment_is_not_evaluated_while_it_trains(tmp_path):
    with pytest.raises(ConfigError, match=r"only environment .* run.final_eval_eps"):
        reverie.train(Attached(), configs="debug", logdir=tmp_path / "run", script="train_eval")
    assert not (tmp_path / "run").exists()


def test_more_of_the_only_environment_are_refused():
    config = load(overrides={"task": "custom_x", "run.envs": 3})
    with pytest.raises(ConfigError, match=r"run.envs is 3, but has to be 1: The instance of"):
        custom.limited(config, custom.resolve(Attached()))


@pytest.mark.parametrize("env", [Counting, Counting()])
def test_arguments_that_nothing_takes_are_refused(env):
    config = load(overrides={"task": "custom_x", "env.gym.kwargs.length": 3})
    with pytest.raises(ConfigError, match=r"env.gym.kwargs is {'length': 3}, .* functools.partial"):
        custom.limited(config, custom.resolve(env))


class Sized(Counting):
    def __init__(self, size):
        super().__init__(len(size))


def test_a_class_that_needs_arguments_says_how_they_are_given(tmp_path):
    with pytest.raises(OptionError, match=r"'size'.* functools.partial\(MyEnv"):
        reverie.train(Sized, configs="debug", logdir=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_type_error_inside_of_a_constructor_stays_what_it_is(tmp_path):
    with pytest.raises(TypeError, match="has no len"):
        reverie.train(functools.partial(Sized, 3), configs="debug", logdir=tmp_path / "run")


def test_a_vector_of_environments_says_what_to_pass():
    vector = gymnasium.make_vec("CartPole-v1", 2, vectorization_mode="sync")
    with pytest.raises(TypeError, match=r"vector of environments .* run.envs"):
        custom.resolve(vector)


def test_an_instance_of_another_interface_says_what_to_do():
    class Dm:
        observation_spec = action_spec = reset = step = None

    with pytest.raises(TypeError, match=r"no gymnasium.Env .*Dm. .* --task dm_module:factory"):
        custom.resolve(Dm())


def test_a_function_that_returns_one_object_twice_is_refused():
    env = Counting()
    with pytest.raises(OptionError, match="Environment 1 is the same object"):
        VectorEnv([lambda: env] * 2, backend="sync")
    with VectorEnv([lambda: env], backend="sync") as one:
        one.reset()
        with pytest.raises(OptionError, match="in use"):
            VectorEnv([lambda: env], backend="sync")


def test_training_says_what_became_of_an_instance(tmp_path):
    options = {"random_agent": True, "run.steps": 40, "run.envs": 2, "run.report_every": 0}
    outcome = reverie.train(Counting(), configs="debug", logdir=tmp_path / "run", **options)
    records = read_jsonl(outcome.logdir / "scores.jsonl")
    assert {record["episode/length"] for record in records} == {5}


class Maker:
    def __init__(self, length):
        self.length = length

    def __call__(self):
        return Counting(self.length)


def names():
    size = 3

    def closed():
        return Counting(size)

    size = 4
    other = functools.partial(Counting)
    return [
        lambda: Counting(3),
        lambda: Counting(4),
        lambda: FromArguments(3),
        functools.partial(Counting, 3),
        functools.partial(Counting, length=3),
        functools.partial(FromArguments, 3),
        closed,
        other,
        Maker(3),
        Maker(4),
        Maker(3).__call__,
        Maker(4).__call__,
    ]


def test_different_functions_have_different_names():
    tasks = [custom.resolve(made).task for made in names()]
    assert len(set(tasks)) == len(tasks)
    assert tasks == [custom.resolve(made).task for made in names()]
    assert all(task.startswith("custom_") for task in tasks)
    assert custom.resolve(Counting).task == "custom_Counting"
    assert custom.resolve(names).task == "custom_names"


def test_a_function_that_calls_itself_has_a_name():
    def make(levels=3):
        return make(levels - 1) if levels else Counting()

    assert re.fullmatch("custom_make_[0-9a-f]{8}", custom.resolve(make).task)


def test_names_are_the_same_in_every_process(capsys):
    code = (
        "import functools\nfrom reverie.run.environments import custom\n"
        "class A:\n    pass\n"
        "for made in (lambda: A({'b', 'c'}), functools.partial(A, x={'b': 1, 'a': (A, 2.5)})):\n"
        "    print(custom.resolve(made).task)"
    )
    other = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    exec(code, {"__name__": "__main__"})
    here = capsys.readouterr().out
    assert here == other.stdout
    assert here.count("custom_") == 2


@pytest.fixture
def beside(tmp_path, monkeypatch):
    """A module of the user beside the program."""
    (tmp_path / "own_env.py").write_text(
        "import gymnasium\n"
        "import numpy as np\n"
        "class Target(gymnasium.Env):\n"
        "    observation_space = gymnasium.spaces.Box(-1, 1, (2,), np.float32)\n"
        "    action_space = gymnasium.spaces.Discrete(2)\n"
        "    def __init__(self, length=5):\n"
        "        self.length = length\n"
        "    def reset(self, *, seed=None, options=None):\n"
        "        super().reset(seed=seed)\n"
        "        self.time = 0\n"
        "        return np.zeros(2, np.float32), {}\n"
        "    def step(self, action):\n"
        "        self.time += 1\n"
        "        return np.zeros(2, np.float32), 1.0, self.time >= self.length, False, {}\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    sys.modules.pop("own_env", None)


@pytest.mark.parametrize("backend", ["sync", "async"])
def test_a_class_is_trained_by_its_name(beside, backend):
    words = ["--configs", "debug", "--task", "own_env:Target", "--env.gym.kwargs.length", "7"]
    words += ["--random_agent", "true", "--run.steps", "40", "--run.env_backend", backend]
    config = load([*words, "--logdir", str(beside / "run")])
    assert config.suite == "gym"
    from reverie.run.scripts import launch

    outcome = launch(config)
    lengths = {r["episode/length"] for r in read_jsonl(outcome.logdir / "scores.jsonl")}
    assert lengths == {7}


def test_a_module_that_trains_when_it_is_imported_does_not_train_in_processes(beside):
    how = {"configs": "debug", "logdir": str(beside / "run"), "run.env_backend": "async"}
    with (beside / "own_env.py").open("a") as file:
        file.write(f"import reverie\nreverie.train(Target, **{how})\n")
    with pytest.raises(WorkerError, match=r"if __name__ == '__main__'"):
        importlib.import_module("own_env")


def test_a_class_of_a_script_that_was_spawned_goes_to_processes(beside, monkeypatch):
    # So does multiprocessing name the script, and no other process has a module of that name.
    script = types.ModuleType("__mp_main__")
    monkeypatch.setitem(sys.modules, script.__name__, script)
    exec((beside / "own_env.py").read_text(), vars(script))
    source = custom.resolve(script.Target)
    try:
        with VectorEnv([source.factory()], backend="async") as vector:
            assert vector.reset()["obs"].shape == (1, 2)
    finally:
        cloudpickle.unregister_pickle_by_value(script)


def test_names_of_classes_that_are_not_there(beside):
    with pytest.raises(ValueError, match=r"own_env:Targat names nothing.*Targat"):
        make("own_env:Targat")
    with pytest.raises(ValueError, match=r"nowhere:Target cannot be imported.*the current folder"):
        make("nowhere:Target")


def test_ids_of_the_program_are_known_in_its_processes():
    class Here(gymnasium.Env):
        observation_space = gs.Box(-1, 1, (2,), np.float32)
        action_space = gs.Discrete(2)

        def reset(self, *, seed=None, options=None):
            return np.zeros(2, np.float32), {}

    gymnasium.register("CountedHere-v0", entry_point=Here)
    try:
        with VectorEnv([factory_of("gym_CountedHere-v0")] * 2, backend="async", seeds=0) as vector:
            assert vector.reset()["obs"].shape == (2, 2)
    finally:
        del gymnasium.registry["CountedHere-v0"]


class Counted(Counting):
    built = 0

    def __init__(self):
        super().__init__()
        Counted.built += 1


@pytest.mark.parametrize(("backend", "most"), [("auto", 3), ("async", 0)])
def test_one_environment_is_built_in_vain_and_none_beside_processes(tmp_path, backend, most):
    # By value, so that processes need not find this file.
    class Here(Counted):
        action_space = gs.Discrete(2)

    Counted.built = 0
    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    try:
        options = {"random_agent": True, "run.steps": 20, "run.envs": 2, "run.report_every": 0}
        options["run.env_backend"] = backend
        reverie.train(Here, configs="debug", logdir=tmp_path / "run", **options)
    finally:
        cloudpickle.unregister_pickle_by_value(sys.modules[__name__])
    assert Counted.built <= most


def test_a_name_that_no_one_can_find_says_what_to_do():
    with pytest.raises(ConfigError) as caught:
        EnvSource("custom_Mine", load().env).make()
    for way in ("reverie.train(env, ", "evaluate(env)", "reverie eval FOLDER --task module:Class"):
        assert way in str(caught.value)
