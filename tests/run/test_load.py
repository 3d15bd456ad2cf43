"""What loading an agent costs, what it leaves alone, and acting in many environments at once."""

import json
import subprocess
import sys
import textwrap

import gymnasium
import jax
import numpy as np
import pytest
from gymnasium import spaces as gs

import reverie
from reverie.config.load import load
from reverie.envs.errors import ValueMismatchError
from reverie.envs.flat.converter import Converter
from reverie.learner.checkpoints import tree
from reverie.learner.checkpoints.checkpoint import Checkpointer
from reverie.learner.compilation.programs import state_shapes
from reverie.learner.placement.devices import DeviceError
from reverie.run.environments.source import EnvSource
from reverie.run.parts import build
from reverie.run.saved.folder import RunFolder
from reverie.run.saved.space_file import write_spaces
from reverie.run.trained import TrainedAgent


def call(script, *args):
    """What a script prints in a fresh interpreter."""
    command = [sys.executable, "-c", textwrap.dedent(script), *map(str, args)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


SETTINGS = """
    import json, os, signal, sys, threading, warnings
    import jax, numpy as np

    def settings():
        return {
            "jax": {k: repr(x) for k, x in jax.config.values.items()},
            "environment": dict(os.environ),
            "warnings": [repr(x) for x in warnings.filters],
            "devices": [str(x) for x in jax.devices("cpu")],
            "switch": sys.getswitchinterval(),
            "signals": {int(x): repr(signal.getsignal(x)) for x in signal.valid_signals()},
            "floats": np.geterr(),
        }

    calls = []
    import ctypes
    loaded, ctypes.CDLL = ctypes.CDLL, lambda *args, **kwargs: calls.append(args)
    jax.devices()
    import gymnasium, reverie
    before = settings()
    agent = reverie.load(sys.argv[1])
    agent.policy(np.zeros(4, np.float32))
    after = settings()
    changed = {k: [before[k], after[k]] for k in before if before[k] != after[k]}
    print(json.dumps({"changed": changed, "calls": [str(x) for x in calls if "libc" in str(x)]}))
"""


def test_loading_and_acting_change_no_settings_of_the_process(finished):
    assert call(SETTINGS, finished.logdir) == {"changed": {}, "calls": []}


MEMORY = """
    import json, pathlib, sys, time
    import numpy as np, reverie

    def status(name):
        lines = pathlib.Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(name)) * 1024

    # Imports, and what JAX needs to trace anything.
    reverie.load(sys.argv[1])
    pathlib.Path("/proc/self/clear_refs").write_text("5")
    before, start = status("VmRSS"), time.perf_counter()
    agent = reverie.load(sys.argv[2])
    print(json.dumps([status("VmHWM") - before, time.perf_counter() - start]))
"""


def make_folder(root, size):
    """A run folder of an agent that was not trained; returns the bytes of its parameters."""
    words = ["--configs", size, "--task", "gym_CartPole-v1", "--logdir", str(root)]
    settings = load(words)
    spaces = EnvSource(settings.task, settings.env).spaces()
    folder = RunFolder(root)
    root.mkdir()
    settings.to_yaml(folder.config)
    write_spaces(folder.spaces, spaces.native_obs, spaces.native_act)
    shapes = tree.flatten(state_shapes(build.agent(settings, spaces.obs, spaces.act, "cpu")))
    shapes = {k: x for k, x in shapes.items() if k.startswith("params/")}
    Checkpointer(folder.checkpoints).save(
        1, {name: np.zeros(x.shape, x.dtype) for name, x in shapes.items()}, {}
    )
    return sum(x.size * x.dtype.itemsize for x in shapes.values())


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory as Linux counts it")
def test_loading_takes_little_more_memory_than_the_parameters(finished, tmp_path):
    needed = make_folder(tmp_path / "run", "size50m")
    assert needed > 150e6
    taken, _ = call(MEMORY, finished.logdir, tmp_path / "run")
    assert taken < 1.2 * needed


@pytest.fixture(scope="module")
def agent(finished):
    return reverie.load(finished.logdir, device="cpu")


def test_the_device_is_the_callers_choice(finished, agent):
    device = jax.devices("cpu")[-1]
    other = reverie.load(finished.logdir, device=device)
    obs = np.ones(4, np.float32)
    (action, state), (wanted, _) = other.policy(obs), agent.policy(obs)
    assert action == wanted
    assert jax.tree.leaves(state.carry)[0].devices() == {device}
    for name in ("cpu:99", 0):
        with pytest.raises(DeviceError, match=f"device is {name!r}, but JAX finds no such device"):
            reverie.load(finished.logdir, device=name)


def test_one_of_many_acts_as_one_alone(finished):
    alone, many = (reverie.load(finished.logdir) for _ in range(2))
    obs, state, states = np.ones(4, np.float32), None, None
    for first in (True, False):
        action, state = alone.policy(obs, state, mode="train")
        actions, states = many.policy(obs[None], states, mode="train", is_first=[first])
        assert actions.tolist() == [action]
    mine, other = (jax.tree.leaves(each.carry) for each in (state, states))
    for one, two in zip(mine, other, strict=True):
        np.testing.assert_array_equal(one, two)


def test_a_vector_environment_gets_its_actions(agent):
    vector = gymnasium.make_vec("CartPole-v1", 3, vectorization_mode="sync")
    obs, _ = vector.reset(seed=0)
    first, done, state = np.ones(3, bool), np.zeros(3, bool), None
    for _ in range(40):
        actions, state = agent.policy(obs, state, is_first=first)
        assert vector.action_space.contains(actions)
        # The step after the end of an episode begins the next one.
        first = done
        obs, _, terminated, truncated, _ = vector.step(actions)
        done = terminated | truncated
    vector.close()


def test_environments_begin_anew_where_is_first_says_so(agent):
    obs = np.ones((2, 4), np.float32)
    _, state = agent.policy(obs, is_first=[False, False])
    _, later = agent.policy(obs, state, is_first=[True, False])
    _, begun = agent.policy(obs, is_first=[True, True])
    deter = lambda x: np.asarray(jax.tree.leaves(x.carry)[0])  # noqa: E731
    np.testing.assert_allclose(deter(later)[0], deter(begun)[0], rtol=1e-5, atol=1e-6)
    assert np.abs(deter(later)[1] - deter(begun)[1]).max() > 1e-4


def test_one_environment_begins_anew_where_is_first_says_so(agent):
    obs = np.ones(4, np.float32)
    action, state = agent.policy(obs)
    assert not action.shape
    deter = lambda x: np.asarray(jax.tree.leaves(x[1].carry)[0])  # noqa: E731
    begun = deter(agent.policy(obs))
    for first in (True, np.True_):
        np.testing.assert_allclose(deter(agent.policy(obs, state, is_first=first)), begun, 1e-5)
    assert np.abs(deter(agent.policy(obs, state, is_first=False)) - begun).max() > 1e-4


def test_numbers_of_environments_that_do_not_fit_are_refused(agent):
    obs = np.ones((2, 4), np.float32)
    _, state = agent.policy(obs, is_first=[True, True])
    with pytest.raises(ValueError, match="The state is one of 2 environments, not 1"):
        agent.policy(obs[0], state)
    for first, shape in ([[True], [True]], r"\(2, 1\)"), ([], r"\(0,\)"):
        with pytest.raises(ValueError, match=f"is_first has the shape {shape}"):
            agent.policy(obs[: len(first)], is_first=first)


def test_many_observations_without_is_first_are_told(agent):
    with pytest.raises(ValueMismatchError, match=r"has shape \(2, 4\)") as caught:
        agent.policy(np.ones((2, 4), np.float32))
    assert "need is_first" in caught.value.__notes__[0]
    with pytest.raises(ValueMismatchError, match="is NaN") as caught:
        agent.policy(np.full(4, np.nan, np.float32))
    assert not hasattr(caught.value, "__notes__")


def test_observations_of_another_form_are_told(agent):
    space = gs.Dict({"obs": gs.Box(-1, 1, (4,)), "action_mask": gs.MultiBinary(2)})
    masked = TrainedAgent(agent._policy, agent._config, Converter(space, gs.Discrete(2)), 0)
    with pytest.raises(ValueMismatchError, match=r"with the entries \['action_mask', ") as one:
        masked.policy(np.ones(4, np.float32))
    with pytest.raises(ValueMismatchError, match="Those of 2 environments are expected") as many:
        masked.policy(np.ones((2, 4), np.float32), is_first=[True, True])
    for caught in (one, many):
        assert "the observations of agent.make_env()" in caught.value.__notes__[0]


def test_observations_without_the_wrappers_of_the_run_are_told(agent):
    gym = agent._config.env.gym.model_copy(update={"wrappers": ("own:Wrapper",)})
    env = agent._config.env.model_copy(update={"gym": gym})
    config = agent._config.model_copy(update={"env": env})
    wrapped = TrainedAgent(agent._policy, config, agent._converter, 0)
    with pytest.raises(ValueMismatchError, match=r"has shape \(2,\)") as caught:
        wrapped.policy(np.ones(2, np.float32))
    assert caught.value.__notes__[0].startswith("A run with env.gym.wrappers")
    with pytest.raises(ValueMismatchError) as caught:
        agent.policy(np.ones(2, np.float32))
    assert not hasattr(caught.value, "__notes__")
