"""Options of the agent that the golden cases leave at their defaults."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from fixed_draws import FixedDraws

from reverie.agent.agent import Agent
from reverie.config.load import load
from reverie.spaces import Space

OBS = {
    "mode": Space("discrete", (), "int32", (3,)),
    "vector": Space("continuous", (3,), "float32"),
}
ACT = {
    "jump": Space("discrete", (), "int32", (4,)),
    "move": Space("continuous", (2,), "float32"),
}
B, T, N = 2, 4, 3
KEY = jax.random.key(0)
FAST = {"xla_backend_optimization_level": 0}
SMALL = ["--configs", "debug", "--agent.imag_length", "3", "--agent.opt.warmup", "0"]


def make(*flags, obs=OBS, **options):
    return Agent(load([*SMALL, *flags]).agent, obs, ACT, **options)


def batch_of(agent, seed=0):
    rng, batch = np.random.default_rng(seed), {}
    rows = (B, T + agent.context)
    for key, space in {**agent.obs_space, **ACT}.items():
        shape = (*rows, *space.shape)
        if space.kind == "continuous":
            batch[key] = rng.normal(size=shape).astype(np.float32)
        else:
            high = 256 if space.kind == "image" else min(space.classes)
            batch[key] = rng.integers(0, high, shape).astype(space.dtype)
    batch |= {k: np.zeros(rows, bool) for k in ("is_first", "is_last", "is_terminal")}
    batch["reward"] = rng.normal(size=rows).astype(np.float32)
    batch["consec"] = np.zeros(B, np.int32)
    return batch | {k: s.zeros(B, agent.context) for k, s in agent.latent_spaces.items()}


@functools.cache
def trainer(agent):
    return jax.jit(agent.train, compiler_options=FAST)


def trained(agent, updates, batch=None):
    """States and metrics after each of several updates on one batch."""
    state, carry = agent.init(KEY), agent.init_carry(B)
    batch = batch_of(agent) if batch is None else batch
    results = []
    for i in range(updates):
        state, carry, _, metrics = trainer(agent)(state, carry, batch, jax.random.key(i))
        results.append((state, metrics))
    return results


@pytest.fixture(scope="module")
def changed():
    """An agent with a slow value and statistics of its own, and three updates of it."""
    flags = ["--agent.slowvalue.every", "2", "--agent.slowvalue.rate", "1.0"]
    for name in ("retnorm", "valnorm", "advnorm"):
        flags += [f"--agent.{name}.impl", "meanstd", f"--agent.{name}.rate", "0.5"]
    agent = make(*flags)
    return agent, trained(agent, 3)


def test_slow_value_moves_only_every_so_many_updates(changed):
    agent, ((one, _), (two, _), (three, _)) = changed
    start = agent.init(KEY).states["actor_critic"].slow.mlp.layers[0].linear.kernel
    kernels = [s.states["actor_critic"].slow.mlp.layers[0].linear.kernel for s in (one, two, three)]
    np.testing.assert_array_equal(kernels[0], start)
    np.testing.assert_array_equal(kernels[1], two.params.heads["val"].mlp.layers[0].linear.kernel)
    np.testing.assert_array_equal(kernels[2], kernels[1])
    assert float(jnp.abs(kernels[1] - start).max()) > 0


def test_value_and_advantage_normalizers_follow_their_batches(changed):
    _, ((one, metrics), (two, _), _) = changed
    norms, later = (x.states["actor_critic"].norms for x in (one, two))
    # Values and returns share their statistics: both see the imagined returns.
    np.testing.assert_array_equal(norms.val, norms.ret)
    np.testing.assert_array_equal(norms.val.weight, 0.5)
    np.testing.assert_allclose(later.val.weight, 0.75)
    np.testing.assert_allclose(norms.adv.first, 0.5 * metrics["adv"], rtol=1e-4)
    square = metrics["adv_std"] ** 2 + metrics["adv"] ** 2
    np.testing.assert_allclose(norms.adv.second, 0.5 * square, rtol=1e-4)
    assert all(np.isfinite(v) for v in metrics.values())


def test_missing_observations_train_without_a_trace(changed):
    """One missing entry makes its key absent: the other entries of that step do not matter."""
    (agent, _), results = changed, []
    for other in (0.0, 5.0):
        batch = batch_of(agent)
        batch["vector"][:, 2] = [-np.inf, other, other]
        batch["mode"][:, 3] = -1
        state, metrics = trained(agent, 2, batch)[-1]
        assert all(np.isfinite(v) for v in metrics.values())
        results.append(state.params)
    for a, b in zip(*map(jax.tree.leaves, results), strict=True):
        assert bool(jnp.isfinite(a).all())
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("mode", ["train", "eval"])
def test_eval_takes_the_mode_of_the_policy_and_training_a_sample(mode):
    agent = make("--agent.policy.outscale", "5.0", draws=FixedDraws(0.5))
    params, rng = agent.init(KEY).params, np.random.default_rng(0)
    obs = {
        "mode": jnp.asarray(rng.integers(0, 3, N), jnp.int32),
        "vector": jnp.asarray(rng.normal(size=(N, 3)), jnp.float32),
        "is_first": jnp.ones(N, bool),
    }
    carry, action, _ = agent.policy(params, agent.init_carry(N), obs, KEY, mode)
    dists = params.heads["pol"](params.dyn.features(carry.state))
    expected = dists["move"].mean + (0.5 * dists["move"].stddev if mode == "train" else 0.0)
    np.testing.assert_allclose(action["move"], expected, atol=1e-5)
    np.testing.assert_array_equal(action["jump"], dists["jump"].mode())
    for key in ACT:
        np.testing.assert_array_equal(carry.prevact[key], action[key])


def test_the_previous_action_matters_except_on_a_first_step():
    agent = make()
    params = agent.init(KEY).params
    policy = jax.jit(agent.policy, compiler_options=FAST)
    carry = agent.init_carry(N)
    pushed = carry._replace(prevact={"jump": carry.prevact["jump"] + 2, "move": jnp.ones((N, 2))})
    obs = {"mode": jnp.zeros(N, jnp.int32), "vector": jnp.ones((N, 3))}
    obs["is_first"] = jnp.array([True, False, True])
    plain, other = (policy(params, c, obs, KEY)[2]["latent/deter"] for c in (carry, pushed))
    same = np.abs(np.asarray(plain) - np.asarray(other)).max(-1) < 1e-6
    np.testing.assert_array_equal(same, [True, False, True])


def test_report_of_images_and_vectors():
    obs = {**OBS, "view": Space("image", (12, 16, 1), "uint8")}
    agent = make(r"--.*\.mults", "2,4", obs=obs)
    report = jax.jit(agent.report, compiler_options=FAST)
    batch = batch_of(agent)
    batch["is_last"][0, 3] = True
    _, results = report(agent.init(KEY), agent.init_carry(B), batch, KEY)
    names = {name for name in results if name.startswith("openloop/")}
    assert names == {*(f"openloop/{key}/{part}" for key in obs for part in ("true", "pred"))}
    true, pred = (np.asarray(results[f"openloop/view/{x}"]) for x in ("true", "pred"))
    assert true.dtype == pred.dtype == np.uint8
    assert results["dream/view/pred"].shape == true.shape
    expected = results["expected/true"]
    np.testing.assert_array_equal(expected[..., 0], batch["reward"][:, 1:])
    unknown = batch["is_last"][:, 1:].copy()
    unknown[:, -1] = True
    np.testing.assert_array_equal(np.isnan(expected[..., 2]), unknown)
    assert np.isfinite(results["loss/dyn"])
    assert results["expected/pred"].shape == results["dream_expected/pred"].shape == expected.shape


def test_a_report_without_predictions():
    agent = make("--agent.report", "false")
    _, results = jax.eval_shape(
        agent.report, agent.init(KEY), agent.init_carry(B), batch_of(agent), KEY
    )
    assert not any(name.startswith("openloop/") for name in results)
    assert "loss/dyn" in results
