"""Checkpoints of the original implementation: the agent that they make is the golden one."""

import re

import jax
import numpy as np
import pytest

from reverie.agent.agent import Agent
from reverie.config.load import load
from reverie.config.saved_runs.foreign import from_folder
from reverie.errors import ConfigError
from reverie.learner.checkpoints import tree
from reverie.learner.checkpoints.checkpoint import CheckpointError
from reverie.run.load import load_policy
from reverie.run.parts import build
from reverie.run.saved import pretrained


def options(run):
    return load(overrides=from_folder(run)[0])


@pytest.mark.parametrize("shards", [1, 3])
def test_the_agent_is_the_golden_one(case, reference_run, shards):
    """What the golden one computes is in test_golden.py."""
    run = reference_run(shards)
    config = options(run)
    assert config.agent == case.config
    for path in (run, run / "ckpt", next(run.glob("ckpt/2*"))):
        start = pretrained.choose(config, case.agent, str(path))
        assert start.step == 1234
    state = tree.replace(case.agent.init(jax.random.key(7)), start.arrays)
    for part, golden in ((state.params, case.state.params), (state.states, case.state.states)):
        jax.tree.map(np.testing.assert_array_equal, part, golden)
        types, expected = ([x.dtype for x in jax.tree.leaves(y)] for y in (part, golden))
        assert types == expected
    assert int(state.opt.updates) == 0


def test_it_acts_as_the_original(case, reference_run, monkeypatch):
    """As evaluations act, but for the draws, which are without chance in the golden agent."""
    monkeypatch.setattr(build, "agent", lambda *_: case.agent)
    run, device = reference_run(), jax.devices()[0]
    config = options(run)
    policy, step = load_policy(config, case.obs_space, case.act_space, device, elsewhere=str(run))
    assert step == 1234
    batch, carry = case.sub("batch"), policy.init(case.meta["batch_size"])
    for row in range(4):
        golden = case.sub(f"policy{row}")
        obs = {key: batch[key][:, row] for key in (*case.obs_space, "is_first")}
        carry, actions, latents = policy.act(carry, obs)
        for key in case.act_space:
            np.testing.assert_allclose(actions[key], golden[f"act/{key}"], rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(latents["latent/deter"], golden["deter"], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("option", "size"), [("hidden", 24), ("deter", 128), ("classes", 8)])
def test_other_sizes_name_the_options_and_the_command_that_prints_them(
    case, reference_run, option, size
):
    run = reference_run()
    dyn = case.config.dyn.model_copy(update={option: size})
    larger = case.config.model_copy(update={"dyn": dyn})
    agent = Agent(larger, case.obs_space, case.act_space, context=1)
    config = options(run).model_copy(update={"agent": larger})
    with pytest.raises(CheckpointError) as caught:
        pretrained.choose(config, agent, str(run))
    message = str(caught.value)
    old = getattr(case.config.dyn, option)
    assert f"agent.dyn.{option}: {old} there, {size} here" in message
    assert re.search(r"params/dyn/core/\w+/\w+/kernel is \(\d+, \d+\) there, \(", message)
    assert f"reverie config --from {run}" in message


def test_latents_of_the_same_size_in_another_order_are_refused(case, reference_run):
    run = reference_run(**{"dyn.rssm.stoch": 2, "dyn.rssm.classes": 8})
    config = options(run).model_copy(update={"agent": case.config})
    with pytest.raises(CheckpointError, match=r"other latents.*\n.*stoch: 2 there, 4 here"):
        pretrained.choose(config, case.agent, str(run))


def test_an_agent_that_reverie_does_not_have_is_refused(case, reference_run):
    with pytest.raises(ConfigError, match=r"agent.dyn.act = 'gelu'.*only 'silu'"):
        options(reference_run(**{"dyn.rssm.act": "gelu"}))
