"""Both golden cases: parts, losses, gradients, updates, latents, acting and report."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from reverie.agent.sequences import flat_samples, observe
from reverie.agent.training import optimizer
from reverie.nn.dists import mix_uniform
from reverie.nn.functional import symexp
from reverie.world.rssm import State

KEY = jax.random.key(0)


def close(ours, golden, name="", rtol=1e-4):
    """Relative to the size of the tensor, as the tolerances of the vectors are meant."""
    ours, golden = np.asarray(ours, np.float64), np.asarray(golden, np.float64)
    assert ours.shape == golden.shape, (name, ours.shape, golden.shape)
    scale = max(np.abs(golden).max(initial=0), 1e-6)
    np.testing.assert_allclose(ours, golden, rtol=rtol, atol=rtol * scale, err_msg=name)


@pytest.fixture(scope="module")
def parts(case):
    """Our counterpart of `parts/*`, computed with the public pieces of the agent."""
    agent, batch = case.agent, case.batch()

    @jax.jit
    def compute(state, batch):
        nets = state.params
        carry, data = agent.align(agent.init_carry(case.meta["batch_size"]), batch)
        _, seen = observe(agent.spec, nets, carry.state, data, KEY)
        post, heads = seen.post, nets.heads
        prior = nets.dyn.prior(post.deter)
        dyn, rep = nets.dyn.kl_losses(post.logits, prior)
        features = nets.dyn.features(State(post.deter, post.stoch))
        reward, policy = heads["rew"](features), heads["pol"](features)
        out = {
            "tokens": nets.enc(data.obs, jnp.float32),
            "prev_deter": carry.state.deter,
            "prev_stoch": jax.nn.one_hot(carry.state.stoch, agent.config.dyn.classes),
            "deter": post.deter,
            "stoch": post.onehot.swapaxes(-1, -2),
            "post_logit": post.logits.swapaxes(-1, -2),
            "prior_logit": prior.swapaxes(-1, -2),
            "dyn": dyn,
            "rep": rep,
            "rew_pred": reward.pred(),
            "rew_loss": reward.loss(data.reward),
            "con_prob": heads["con"](features).prob(),
            "val_pred": heads["val"](features).pred(),
            "slowval_pred": state.states["actor_critic"].slow(features).pred(),
        }
        for key, dist in heads["dec"](post.deter, flat_samples(post)).items():
            out[f"recon_pred/{key}"] = dist.pred()
        for key, dist in policy.items():
            out[f"policy_entropy/{key}"] = dist.entropy()
            out[f"policy_logp/{key}"] = dist.log_prob(batch[key][:, 1:])
            out[f"prevact/{key}"] = data.prevact[key]
        return out

    return jax.device_get(compute(case.state, batch))


def test_parts(case, parts):
    golden = case.sub("parts")
    assert sorted(parts) == sorted(golden)
    for name, value in golden.items():
        if name in ("post_logit", "prior_logit"):
            # Ours already hold the uniform mix.
            value = mix_uniform(jnp.asarray(value), case.config.dyn.unimix)
        key = name.removeprefix("recon_pred/")
        if name != key and case.obs_space[key].kind == "continuous":
            value = symexp(jnp.asarray(value))  # The vectors hold the symlog of a prediction.
        close(parts[name], value, name)


@pytest.fixture(scope="module")
def updates(case):
    """Three consecutive updates on the same batch, and the gradient of the first."""
    agent, state, batch = case.agent, case.state, case.batch()
    carry = agent.init_carry(case.meta["batch_size"])
    update = optimizer.update

    @jax.jit
    def train(*args):
        kept = []
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(optimizer, "update", lambda *a: kept.append(a[0]) or update(*a))
            return *agent.train(*args), *kept

    results, gradients = [], []
    for _ in range(3):
        state, carry, out, metrics, grads = train(state, carry, batch, KEY)
        results.append((out, jax.device_get(metrics)))
        gradients.append(grads)
    return state, results, gradients[0]


@pytest.fixture(scope="module", params=["cpu", "default"])
def gradient(case, request):
    """Loss and gradient from an update on a CPU, and as all other devices compute them, here."""
    if request.param == "cpu":
        _, results, grads = request.getfixturevalue("updates")
        return results[0][1]["opt/loss"], grads
    agent, state = case.agent, case.state
    carry = agent.init_carry(case.meta["batch_size"])
    # A function of its own, because JAX knows what it has traced by the function.
    fn = jax.jit(jax.value_and_grad(lambda *args: agent.loss(*args), has_aux=True))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jax.lax, "platform_dependent", lambda *args, default, **_: default(*args))
        (loss, _), grads = fn(state.params, state.states, carry, case.batch(), KEY)
    return loss, grads


def test_loss(case, gradient):
    loss, _ = gradient
    close(loss, case.arrays["loss"])


def test_gradients(case, gradient):
    """The value head of `mixed` is the worst, with 2e-3; all others stay below 1e-4.

    One slow value there is 644 as a sum of terms of 1e7, which float32 rounds by 1, and that moves
    its two-hot target. In float64 the same gradient agrees to 5e-5.
    """
    _, grads = gradient
    golden = case.params_of("grads", case.state.params)
    paths, _ = jax.tree_util.tree_flatten_with_path(grads)
    for (path, ours), theirs in zip(paths, jax.tree.leaves(golden), strict=True):
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        error = np.linalg.norm(ours - theirs) / max(np.linalg.norm(theirs), 1e-8)
        assert error < 5e-3, (name, error)


@pytest.mark.parametrize("index", range(3))
def test_update_metrics(case, updates, index):
    _, metrics = updates[1][index]
    golden = case.sub(f"train{index}/metrics")
    renamed = {f"loss/{key}": f"loss/rec/{key}" for key in case.obs_space}
    # Later updates run on parameters that differ by the rounding of the gradients before them.
    rtol = 1e-4 if index == 0 else 1e-3
    for name, value in golden.items():
        close(metrics[renamed.get(name, name)], value, name, rtol)
    assert len(metrics) == len(golden)


def test_params_after_three_updates(case, updates):
    state, _, _ = updates
    golden = case.state_of("params_after3")
    ours, theirs = (x.states["actor_critic"] for x in (state, golden))
    for x, y in zip(
        jax.tree.leaves((state.params, ours.slow)),
        jax.tree.leaves((golden.params, theirs.slow)),
        strict=True,
    ):
        error = np.linalg.norm(x - y) / max(np.linalg.norm(y), 1e-8)
        assert error < 5e-3
    close(ours.norms.ret.first, theirs.norms.ret.first)
    close(ours.norms.ret.second, theirs.norms.ret.second)


def test_latents_written_back(case, updates):
    out, _ = updates[1][0]
    golden = case.sub("train0/replay")
    close(out.latents["latent/deter"], golden["dyn/deter"])
    onehot = jax.nn.one_hot(out.latents["latent/stoch"], case.config.dyn.classes)
    np.testing.assert_array_equal(onehot, golden["dyn/stoch"])


def test_acting(case):
    agent, batch = case.agent, case.sub("batch")
    size = case.meta["batch_size"]
    carry = agent.init_carry(size)
    policy = jax.jit(agent.policy)
    for row in range(4):
        golden = case.sub(f"policy{row}")
        obs = {k: jnp.asarray(batch[k][:, row]) for k in (*case.obs_space, "is_first")}
        carry, action, latents = policy(case.state.params, carry, obs, KEY)
        for key in case.act_space:
            close(action[key], golden[f"act/{key}"], key)
        close(latents["latent/deter"], golden["deter"])
        onehot = jax.nn.one_hot(latents["latent/stoch"], case.config.dyn.classes)
        np.testing.assert_array_equal(onehot, golden["stoch"])


def reference_video(true, pred):
    """The layout of the original: truth, prediction and error in frames, then black ones."""
    error = ((pred.astype(int) - true + 255) // 2).astype(np.uint8)
    frames = np.concatenate([true, pred, error], 2)
    b, t, h, w, c = frames.shape
    framed = np.zeros((b, t + min(t, 10), h + 4, w + 4, c), np.uint8)
    framed[:, : t // 2], framed[:, t // 2 : t] = (0, 255, 0), (255, 0, 0)
    framed[:, :t, 2:-2, 2:-2] = frames
    return framed.transpose(1, 2, 0, 3, 4).reshape(framed.shape[1], h + 4, -1, c)


@pytest.mark.parametrize("case", ["mixed"], indirect=True)
def test_report_video(case):
    batch = case.batch()
    carry = case.agent.init_carry(case.meta["batch_size"])
    report = jax.jit(case.agent.report)(case.state, carry, batch, KEY)[1]
    golden = case.sub("report")["openloop/image"].astype(int)
    # Rounding to whole grey levels may fall either way.
    true, pred = (np.asarray(report[f"openloop/image/{x}"]) for x in ("true", "pred"))
    video = reference_video(true, pred)
    assert np.abs(video.astype(int) - golden).max() <= 1
