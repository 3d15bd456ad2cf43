"""The agent's behaviour beyond the golden vectors."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from reverie.agent.agent import Agent
from reverie.config.load import load
from reverie.config.sections.agent import AgentConfig
from reverie.spaces import Space

OBS = {
    "flags": Space("discrete", (2,), "bool", (2, 2)),
    "mode": Space("discrete", (), "int32", (3,)),
    "vector": Space("continuous", (3,), "float32"),
}
ACT = {
    "jump": Space("discrete", (2,), "int32", (2, 4)),
    "move": Space("continuous", (2,), "float32"),
}
B, T = 2, 5
FAST = {"xla_backend_optimization_level": 0}


def config(**changes) -> AgentConfig:
    return load(["--configs", "debug"]).agent.model_copy(update=changes)


def values(space, rng, *batch):
    shape = (*batch, *space.shape)
    if space.kind == "continuous":
        return rng.normal(size=shape).astype(np.float32)
    return rng.integers(0, min(space.classes), shape).astype(space.dtype)


def batch_of(agent, context=1, seed=0):
    rng = np.random.default_rng(seed)
    rows = (B, T + context)
    batch = {k: values(s, rng, *rows) for k, s in {**OBS, **ACT}.items()}
    batch |= {k: np.zeros(rows, bool) for k in ("is_first", "is_last", "is_terminal")}
    batch["reward"] = rng.normal(size=rows).astype(np.float32)
    batch["consec"] = np.zeros(B, np.int32)
    batch |= {k: values(s, rng, B, context) for k, s in agent.latent_spaces.items()}
    return batch


def updated(agent, batch):
    return compiled(agent)(
        agent.init(jax.random.key(0)), agent.init_carry(B), batch, jax.random.key(1)
    )


@functools.cache
def compiled(agent):
    return jax.jit(agent.train, compiler_options=FAST)


@pytest.fixture(scope="module")
def agent():
    return Agent(config(), OBS, ACT)


def test_hybrid_actions_and_all_kinds_of_observations_train(agent):
    state, _, out, metrics = updated(agent, batch_of(agent))
    assert all(np.isfinite(v) for v in metrics.values())
    assert out.priority.shape == (B, T)
    for key, space in agent.latent_spaces.items():
        assert out.latents[key].shape == (B, T, *space.shape)
        assert out.latents[key].dtype == space.dtype
    assert {"loss/rec/flags", "loss/rec/mode", "loss/rec/vector"} <= set(metrics)
    assert int(state.opt.updates) == 1


def test_acting_gives_actions_of_their_spaces(agent):
    params, rng = agent.init(jax.random.key(0)).params, np.random.default_rng(0)
    obs = {k: values(s, rng, 3) for k, s in OBS.items()} | {"is_first": np.ones(3, bool)}
    policy = jax.jit(agent.policy, static_argnames="mode", compiler_options=FAST)
    carry = agent.init_carry(3)
    _, sampled, latents = policy(params, carry, obs, jax.random.key(0), mode="train")
    for key, space in ACT.items():
        assert sampled[key].shape == (3, *space.shape)
        assert sampled[key].dtype == space.dtype
    assert (np.asarray(sampled["jump"]) < [2, 4]).all()
    assert {k: v.dtype for k, v in latents.items()} == {
        k: s.dtype for k, s in agent.latent_spaces.items()
    }
    first = policy(params, carry, obs, jax.random.key(0), mode="eval")[1]
    again = policy(params, carry, obs, jax.random.key(0), mode="eval")[1]
    for key in ACT:
        np.testing.assert_array_equal(first[key], again[key])
    # The standard deviation is about 0.9 at the start, the mean nearly zero.
    assert np.abs(first["move"]).max() < 0.2 < np.abs(sampled["move"]).max()


def test_nothing_crosses_an_episode_border(agent):
    """What came before a first step does not change the latents from there on."""
    batch = batch_of(agent)
    batch["is_first"][:, 3] = True
    other = dict(batch_of(agent, seed=1), is_first=batch["is_first"])
    for key in (*OBS, *ACT):
        other[key][:, 3:] = batch[key][:, 3:]
    first, second = (updated(agent, x)[2].latents["latent/deter"] for x in (batch, other))
    np.testing.assert_allclose(first[:, 2], second[:, 2], atol=1e-6)
    assert np.abs(first[:, 1] - second[:, 1]).max() > 1e-3


def test_a_first_chunk_starts_from_the_stored_latents_and_a_later_one_from_the_carry(agent):
    batch = batch_of(agent)
    carry = updated(agent, batch_of(agent, seed=1))[1]
    other_latents = dict(batch, **{"latent/deter": batch["latent/deter"] + 1})

    def start(batch, carry):
        return np.asarray(agent.align(carry, jax.tree.map(jnp.asarray, batch))[0].state.deter)

    np.testing.assert_array_equal(start(batch, carry), batch["latent/deter"][:, 0])
    later = dict(other_latents, consec=np.array([0, 1], np.int32))
    np.testing.assert_array_equal(start(later, carry)[0], other_latents["latent/deter"][0, 0])
    np.testing.assert_array_equal(start(later, carry)[1], carry.state.deter[1])


def test_without_context_the_previous_action_comes_from_the_carry():
    agent = Agent(config(), OBS, ACT, context=0)
    batch = batch_of(agent, context=0)
    carry = agent.init_carry(B)
    carry = carry._replace(prevact={k: v + 1 for k, v in carry.prevact.items()})
    data = agent.align(carry, jax.tree.map(jnp.asarray, batch))[1]
    for key in ACT:
        np.testing.assert_array_equal(data.prevact[key][:, 0], carry.prevact[key])
        np.testing.assert_array_equal(data.prevact[key][:, 1:], batch[key][:, :-1])


def gradients(agent):
    state, batch = agent.init(jax.random.key(0)), batch_of(agent)
    # Heads with outscale 0 pass no gradient at the start.
    state = jax.tree.map(lambda x: x + 0.01, state)
    grad = jax.jit(jax.grad(agent.loss, has_aux=True), compiler_options=FAST)
    arguments = (state.params, state.states, agent.init_carry(B), batch)
    return grad(*arguments, jax.random.key(0))[0]


def only(**scales):
    """Configuration in which only the given loss terms count."""
    base = config()
    zero = dict.fromkeys(base.loss_scales.model_dump(), 0.0)
    return base.loss_scales.model_copy(update=zero | scales)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("term", "switch"),
    [("rew", "reward_grad"), ("repval", "repval_grad"), ("value", "ac_grads")],
)
def test_gradient_switches(term, switch):
    for on in (True, False):
        agent = Agent(config(loss_scales=only(**{term: 1.0}), **{switch: on}), OBS, ACT)
        encoder = jax.tree.leaves(gradients(agent).enc)
        assert any(float(jnp.abs(g).max()) > 0 for g in encoder) == on


def test_policy_and_value_losses_train_nothing_else():
    agent = Agent(config(loss_scales=only(policy=1.0, value=1.0)), OBS, ACT)
    grads = gradients(agent)
    trained = {name: grads.heads.pop(name) for name in ("pol", "val")}
    assert all(float(jnp.abs(g).max()) == 0 for g in jax.tree.leaves(grads))
    assert float(jnp.abs(trained["pol"].mlp.layers[0].linear.kernel).max()) > 0
    assert float(jnp.abs(trained["val"].mlp.layers[0].linear.kernel).max()) > 0


def test_imagination_from_the_last_steps_only():
    agent = Agent(config(imag_last=2), OBS, ACT)
    state = agent.init(jax.random.key(0))
    arguments = (state.params, state.states, agent.init_carry(B), batch_of(agent))
    losses = jax.eval_shape(agent.loss, *arguments, jax.random.key(0))[1].losses
    assert losses["policy"].shape == losses["value"].shape == (B, 2)
    assert losses["repval"].shape == (B, 1)
    assert losses["dyn"].shape == (B, T)


@pytest.mark.slow
def test_bfloat16_is_finite_and_close_to_float32():
    results = {}
    for dtype in ("float32", "bfloat16"):
        agent = Agent(config(), OBS, ACT, dtype=dtype)
        batch = batch_of(agent)
        batch["latent/deter"] = np.zeros_like(batch["latent/deter"])
        _, _, out, results[dtype] = updated(agent, batch)
        assert out.latents["latent/deter"].dtype == dtype
        assert all(np.isfinite(v) for v in results[dtype].values())
    for name in ("loss/rec/vector", "loss/rew", "loss/con", "loss/dyn"):
        np.testing.assert_allclose(results["bfloat16"][name], results["float32"][name], rtol=0.05)


def test_slow_value_follows_at_its_rate(agent):
    before = agent.init(jax.random.key(0))
    state = updated(agent, batch_of(agent))[0]
    old, new = (x.params.heads["val"].out.bias for x in (before, state))
    rate = agent.config.slowvalue.rate
    slow = state.states["actor_critic"].slow.out.bias
    np.testing.assert_allclose(slow, (1 - rate) * old + rate * new, atol=1e-8)


def test_normalizers_that_are_off_stay_at_zero(agent):
    norms = updated(agent, batch_of(agent))[0].states["actor_critic"].norms
    np.testing.assert_array_equal([*norms.val, *norms.adv], np.zeros(6))
    assert float(norms.ret.weight) > 0


def test_report_names_and_shapes(agent):
    state = jax.eval_shape(agent.init, jax.random.key(0))
    arguments = (state, agent.init_carry(B), batch_of(agent), jax.random.key(0))
    _, results = jax.eval_shape(agent.report, *arguments)
    assert results["openloop/vector/true"].shape == (B, T, 3)
    assert results["openloop/flags/pred"].shape == (B, T, 2)
    assert results["loss/dyn"].shape == ()


def test_an_agent_needs_observations():
    with pytest.raises(ValueError, match="at least one observation"):
        Agent(config(), {}, ACT)


def test_size1m_has_the_published_number_of_parameters():
    settings = load(["--configs", "size1m"]).agent
    obs = {"vector": Space("continuous", (24,), "float32")}
    act = {"action": Space("continuous", (6,), "float32")}
    agent = Agent(settings, obs, act)
    shapes = jax.eval_shape(agent.init, jax.random.key(0))
    assert sum(x.size for x in jax.tree.leaves(shapes.params)) == 640_867


@pytest.mark.parametrize("size", [12, 25, 50, 100, 200, 400])
def test_every_size_builds_with_images(size):
    settings = load(["--configs", f"size{size}m"]).agent
    obs = {"image": Space("image", (64, 64, 3), "uint8")}
    act = {"action": Space("discrete", (), "int32", (17,))}
    shapes = jax.eval_shape(Agent(settings, obs, act).init, jax.random.key(0))
    count = sum(x.size for x in jax.tree.leaves(shapes.params))
    # The names count the paper's heads too; the order of magnitude has to be right.
    assert 0.7 < count / (size * 1e6) < 1.3
