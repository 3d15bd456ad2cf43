"""Action masks: the distribution with literal numbers, acting, and imagination."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from reverie.agent.action_mask import masked, predicted_masks
from reverie.agent.agent import Agent
from reverie.agent.imagination import imagine
from reverie.agent.objectives.actor_critic import imagined_loss
from reverie.config.load import load
from reverie.nn.dists import Categorical, mix_uniform
from reverie.nn.draws import Draws
from reverie.spaces import Space
from reverie.world.rssm import State

FAST = {"xla_backend_optimization_level": 0}
BIT = lambda n: Space("discrete", (n,), "bool", (2,) * n)  # noqa: E731
OBS = {
    "vector": Space("continuous", (3,), "float32"),
    "action_mask/pick": BIT(4),
    "action_mask/both": BIT(5),
}
ACT = {
    "both": Space("discrete", (2,), "int32", (2, 3)),
    "move": Space("continuous", (2,), "float32"),
    "pick": Space("discrete", (), "int32", (4,)),
}


def distribution(probs, classes, valid):
    logits = jnp.log(jnp.array(probs, jnp.float32))
    shape = () if len(classes) == 1 else (len(classes),)
    return Categorical(logits, classes, shape).restricted(jnp.array(valid))


def test_probability_goes_to_the_valid_classes_in_proportion():
    dist = distribution([0.1, 0.2, 0.3, 0.4], (4,), [True, False, True, False])
    log_probs = [float(dist.log_prob(jnp.array(i))) for i in range(4)]
    np.testing.assert_allclose(np.exp(log_probs), [0.25, 0.0, 0.75, 0.0], rtol=1e-6)
    entropy = -(0.25 * np.log(0.25) + 0.75 * np.log(0.75))
    np.testing.assert_allclose(dist.entropy(), entropy, rtol=1e-6)
    assert int(dist.mode()) == 2


def test_every_entry_is_restricted_alone():
    valid = [False, True, True, False, True]
    dist = distribution([0.5, 0.5, 0.2, 0.7, 0.1], (2, 3), valid)
    assert dist.mode().tolist() == [1, 0]
    np.testing.assert_allclose(dist.log_prob(jnp.array([1, 2])), np.log(1 / 3), rtol=1e-5)
    np.testing.assert_allclose(dist.entropy(), np.log(3) - 2 / 3 * np.log(2), rtol=1e-5)


def test_the_uniform_mix_gives_nothing_to_invalid_classes():
    logits = mix_uniform(jnp.array([5.0, 0.0, -5.0, 9.0]), 0.5)
    dist = Categorical(logits, (4,), ()).restricted(jnp.array([True, True, True, False]))
    probs = np.exp([float(dist.log_prob(jnp.array(i))) for i in range(4)])
    assert probs[3] == 0.0
    np.testing.assert_allclose(probs.sum(), 1.0, rtol=1e-6)
    assert probs.min(initial=1.0, where=[True, True, True, False]) > 0.1


def test_gradients_stay_finite_and_reach_valid_classes_alone():
    def dist(logits):
        return Categorical(logits, (3,), ()).restricted(jnp.array([True, False, True]))

    logits = jnp.array([0.3, 2.0, -1.0])
    of_log_prob = jax.grad(lambda x: dist(x).log_prob(jnp.array(0)))(logits)
    # The probabilities are 0.7858 and 0.2142.
    np.testing.assert_allclose(of_log_prob, [0.2142, 0.0, -0.2142], atol=1e-4)
    of_entropy = jax.grad(lambda x: dist(x).entropy())(logits)
    np.testing.assert_allclose(of_entropy, [-0.2188, 0.0, 0.2188], atol=1e-4)


@pytest.mark.parametrize("noise", [0.0, 0.5, 1 - 2**-24, 1.0])
def test_not_even_rounding_draws_an_invalid_class(noise):
    probs = [0.1] * 7 + [0.3]
    valid = [False] + [True] * 6 + [False]
    dist = distribution(probs, (8,), valid)
    drawn = int(dist.sample(Draws(), jnp.array([noise], jnp.float32)))
    assert valid[drawn]


def test_without_a_mask_distributions_are_the_same_objects():
    dists = {"action": Categorical(jnp.zeros(3), (3,), ())}
    assert masked(dists, {})["action"] is dists["action"]


@pytest.fixture(scope="module")
def agent():
    return Agent(load(["--configs", "debug"]).agent, OBS, ACT)


@pytest.fixture(scope="module")
def params(agent):
    """Networks whose decoder predicts fixed masks, whatever the latent state."""
    params = jax.jit(agent.init, compiler_options=FAST)(jax.random.key(0)).params
    fixed = {
        # Two likely ones; none likely, where the likeliest one is left.
        "action_mask/pick": [3.0, -1.0, 0.5, -2.0],
        "action_mask/both": [-2.0, 1.0, -3.0, -1.0, -2.0],
    }
    for name, evidence in fixed.items():
        bias = jnp.stack([jnp.zeros(len(evidence)), jnp.array(evidence)], -1).ravel()
        output = params.heads["dec"].outputs[name]
        params = eqx.tree_at(
            lambda p, name=name: (
                p.heads["dec"].outputs[name].kernel,
                p.heads["dec"].outputs[name].bias,
            ),
            params,
            (jnp.zeros_like(output.kernel), bias),
        )
    return params


PREDICTED = {"pick": [True, False, True, False], "both": [False, True, False, True, False]}


def states(agent, count):
    dyn = agent.config.dyn
    stoch = np.random.default_rng(0).integers(0, dyn.classes, (count, dyn.stoch))
    return State(jnp.ones((count, dyn.deter)), jnp.asarray(stoch, jnp.int32))


def test_masks_are_predicted_from_the_latent_state(agent, params):
    found = predicted_masks(params, states(agent, 3), agent.act_space, agent.masks)
    assert {key: mask[0].tolist() for key, mask in found.items()} == PREDICTED
    assert {mask.shape for mask in found.values()} == {(3, 4), (3, 5)}


def test_imagination_and_its_loss_follow_the_predicted_masks(agent, params):
    @jax.jit
    def dream(params, start):
        slow, key = params.heads["val"], jax.random.key(1)
        rollout = imagine(agent.spec, params, slow, start, 4, key)
        norms = agent.init(jax.random.key(0)).states["actor_critic"].norms
        return rollout, imagined_loss(params, norms, rollout, agent.config)[-1]

    rollout, metrics = dream(params, states(agent, 64))
    pick, both = np.asarray(rollout.action["pick"]), np.asarray(rollout.action["both"])
    assert pick.shape == (5, 64)
    assert set(pick.ravel().tolist()) == {0, 2}
    assert set(map(tuple, both.reshape(-1, 2).tolist())) == {(1, 1)}
    assert rollout.masks["pick"].all((0, 1)).tolist() == PREDICTED["pick"]
    # A fresh policy is nearly uniform over what is left.
    np.testing.assert_allclose(metrics["ent/pick"], np.log(2), rtol=1e-2)
    np.testing.assert_allclose(metrics["ent/both"], 0.0, atol=1e-6)


@pytest.mark.parametrize("mode", ["train", "eval"])
def test_acting_follows_the_observed_masks(agent, params, mode):
    rng, count = np.random.default_rng(0), 128
    pick, both = rng.random((count, 4)) < 0.3, rng.random((count, 5)) < 0.3
    pick[np.arange(count), rng.integers(0, 4, count)] = True
    both[np.arange(count), rng.integers(0, 2, count)] = True
    both[np.arange(count), rng.integers(2, 5, count)] = True
    obs = {
        "vector": rng.normal(size=(count, 3)).astype(np.float32),
        "action_mask/pick": pick,
        "action_mask/both": both,
        "is_first": np.ones(count, bool),
    }
    policy = jax.jit(agent.policy, static_argnames="mode", compiler_options=FAST)
    action = policy(params, agent.init_carry(count), obs, jax.random.key(0), mode=mode)[1]
    rows = np.arange(count)
    assert pick[rows, action["pick"]].all()
    assert both[rows, action["both"][:, 0]].all()
    assert both[rows, 2 + action["both"][:, 1]].all()


@pytest.mark.parametrize(
    ("obs", "words"),
    [
        ({"action_mask": BIT(4)}, r"the only discrete action.*\['both', 'pick'\]"),
        ({"action_mask/move": BIT(2)}, "'move', which does not exist"),
        ({"action_mask/pick": BIT(5)}, r"each of its 4 classes.*MultiBinary\(4\)"),
        ({"action_mask/pick": Space("continuous", (4,), "float32")}, r"MultiBinary\(4\)"),
    ],
)
def test_masks_that_fit_no_action_are_refused(obs, words):
    with pytest.raises(ValueError, match=words):
        Agent(load(["--configs", "debug"]).agent, obs, ACT)
