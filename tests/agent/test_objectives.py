"""The agent as a list of objectives: what is left out, what is added, and what does not fit."""

import contextlib
import dataclasses
import pathlib
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from reverie.agent.agent import Agent
from reverie.agent.objectives.base import Loss, Objective
from reverie.agent.objectives.registry import OBJECTIVES
from reverie.config.load import load
from reverie.config.sections.agent import AgentConfig
from reverie.errors import ConfigError
from reverie.spaces import Space

EXAMPLES = pathlib.Path(__file__).parents[2] / "examples"
OBS = {"vector": Space("continuous", (3,), "float32")}
ACT = {"action": Space("discrete", (), "int32", (4,))}
PAPER = list(OBJECTIVES)
B, T = 2, 4
KEY = jax.random.key(0)
FAST = {"xla_backend_optimization_level": 0}


def make(*objectives, flags=(), obs=OBS):
    words = ["--agent.objectives", *objectives] if objectives else []
    return Agent(load(["--configs", "debug", *words, *flags]).agent, obs, ACT)


def batch_of(agent):
    rng, rows = np.random.default_rng(0), (B, T + 1)
    batch = {
        "vector": rng.normal(size=(*rows, 3)).astype(np.float32),
        "action": rng.integers(0, 4, rows).astype(np.int32),
        "reward": rng.normal(size=rows).astype(np.float32),
        "consec": np.zeros(B, np.int32),
        **{k: np.zeros(rows, bool) for k in ("is_first", "is_last", "is_terminal")},
    }
    return batch | {k: s.zeros(B, 1) for k, s in agent.latent_spaces.items()}


def updated(agent):
    train = jax.jit(agent.train, compiler_options=FAST)
    return train(agent.init(KEY), agent.init_carry(B), batch_of(agent), KEY)


@pytest.fixture
def own(monkeypatch):
    """Adds a module whose attributes are functions of objectives."""

    def add(**functions):
        module = type(sys)("own")
        module.__dict__.update(functions)
        monkeypatch.setitem(sys.modules, "own", module)
        return [f"own:{name}" for name in functions]

    return add


def test_the_names_in_the_options_are_those_that_there_are():
    assert AgentConfig().objectives == tuple(PAPER)
    assert all(make(*PAPER).objectives[i].name == name for i, name in enumerate(PAPER))
    with pytest.raises(ConfigError, match="'actor_critic' and functions of your own"):
        load(["--agent.objectives", "actor"])


def test_heads_keep_the_order_in_which_the_optimizer_holds_their_moments():
    params = jax.eval_shape(make().init, KEY).params
    assert list(params.heads) == ["dec", "rew", "con", "pol", "val"]
    leaves = jax.tree.leaves(params)
    parts = [params.enc, params.dyn, *params.heads.values()]
    assert [x.shape for x in leaves] == [x.shape for part in parts for x in jax.tree.leaves(part)]


def test_without_reconstruction_there_is_no_decoder_and_no_prediction():
    agent = make(*(name for name in PAPER if name != "reconstruction"))
    state, _, out, metrics = updated(agent)
    assert list(state.params.heads) == ["rew", "con", "pol", "val"]
    assert not any(name.startswith("loss/rec") for name in metrics)
    assert all(np.isfinite(x) for x in metrics.values())
    scales = agent.config.loss_scales.model_dump()
    expected = sum(scales[k] * metrics[f"loss/{k}"] for k in ("dyn", "rep", "rew", "con"))
    np.testing.assert_allclose(out.priority.mean(), expected, rtol=1e-5)
    arguments = (state, agent.init_carry(B), batch_of(agent), KEY)
    results = jax.eval_shape(agent.report, *arguments)[1]
    assert "loss/dyn" in results
    assert not any(name.startswith("openloop/") for name in results)


def test_without_a_model_that_gives_priorities_they_are_zero(own):
    def still(spec):
        loss = lambda nets, state, seen, key: Loss({"still": 0 * seen.data.reward})  # noqa: E731
        heads = lambda key: {x: y for o in others for x, y in o.heads(key).items()}  # noqa: E731
        others = [OBJECTIVES[name](spec) for name in ("reward", "continue")]
        return Objective("still", {"still": 1.0}, loss, heads)

    out = updated(make("actor_critic", *own(still=still)))[2]
    np.testing.assert_array_equal(out.priority, np.zeros((B, T)))


def test_the_example_trains_its_head_and_states_follow_batches_and_updates(own, monkeypatch):
    def count(spec):
        return Objective(
            "count",
            {"zero": 1.0},
            lambda nets, state, seen, key: Loss({"zero": 0 * seen.data.reward}, state + 1),
            init=lambda nets: jnp.zeros(()),
            settle=lambda state, nets, updates: state + 10 * updates,
        )

    monkeypatch.setattr(sys, "path", [str(EXAMPLES), *sys.path])
    plain = make()
    units = ["--agent.extra.next_reward.units", "8"]
    agent = make(*PAPER, "own_objective:next_reward", *own(count=count), flags=units)
    before = agent.init(KEY).params
    assert before.heads["next"].out.kernel.shape[0] == 8
    others = dict(before.heads)
    del others["next"]
    jax.tree.map(np.testing.assert_array_equal, others, dict(plain.init(KEY).params.heads))
    state, _, out, metrics = updated(agent)
    assert float(metrics["loss/next"]) > 0
    assert out.priority.shape == (B, T)
    changed = jnp.abs(state.opt.inner[0].nu[-255:]).max()
    assert float(changed) > 0
    assert float(state.states["count"]) == 11


def mine(nets, state, seen, key):
    return Loss({"mine": seen.data.reward})


def trace(agent):
    def update(batch, key):
        return agent.train(agent.init(key), agent.init_carry(B), batch, key)

    return jax.eval_shape(update, batch_of(agent), KEY)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "reward"}, "Two objectives .* are named 'reward', the second one is own:one"),
        ({"scales": {"rew": 1.0}}, "'reward' and 'one' of agent.objectives both .* loss 'rew'"),
        (
            {"scales": {"yours": 1.0}},
            r"'one' \(own:one\) has the losses \['mine'\], .* for \['yours'\]",
        ),
        ({"scales": {"mine": float("nan")}}, "the scale of 'mine' is nan"),
        ({"needs": ("other",)}, "'one' needs the head 'other', but .* bring dec, rew, con"),
        (
            {"heads": lambda key: {"pol": None}},
            "'actor_critic' and 'one' .* both bring the head 'pol'",
        ),
        ({"heads": lambda key: None}, r"'one' \(own:one\): heads returned None"),
        ({"loss": lambda *_: {"mine": 0}}, r"loss returned a dict; Loss\(\{name: array\}\) was"),
        ({"loss": lambda *_: Loss([])}, "loss returned a Loss of a list"),
        ({"loss": lambda *_: Loss({"mine": 0.5})}, "loss 'mine' is a float; an array"),
    ],
)
def test_objectives_that_do_not_fit_together(own, changes, message):
    one = Objective("one", {"mine": 1.0}, mine)
    names = own(one=lambda spec: dataclasses.replace(one, **changes))
    with pytest.raises(ConfigError, match=message):
        trace(make(*PAPER, *names))


@pytest.mark.parametrize(
    ("shape", "model", "message"),
    [
        ((), False, r"'one' \(own:one\): loss 'mine' has shape \(\); \(2, 1 or more steps\) was"),
        ((B, 0), False, r"has shape \(2, 0\)"),
        ((B, T, 3), False, r"has shape \(2, 4, 3\)"),
        ((T, B), False, r"has shape \(4, 2\)"),
        ((B, T - 1), True, r"has shape \(2, 3\); with model=True \(2, 4\) was expected"),
        ((B, T - 1), False, ""),
        ((B, T), True, ""),
    ],
)
def test_losses_of_other_shapes(own, shape, model, message):
    def loss(nets, state, seen, key):
        return Loss({"mine": jnp.zeros(shape)})

    agent = make(*PAPER, *own(one=lambda spec: Objective("one", {"mine": 1.0}, loss, model=model)))
    with pytest.raises(ConfigError, match=message) if message else contextlib.nullcontext():
        trace(agent)


@pytest.mark.parametrize("part", ["loss", "init", "heads", "settle", "function"])
def test_exceptions_of_own_code_name_the_objective_and_their_line(own, part):
    def broken(*_):
        return {}["missing"]  # The line.

    def one(spec):
        if part == "function":
            broken()
        return dataclasses.replace(Objective("one", {"mine": 1.0}, mine), **{part: broken})

    with pytest.raises(ConfigError, match=r"KeyError: 'missing'\n") as raised:
        trace(make(*PAPER, *own(one=one)))
    message = str(raised.value)
    named = "agent.objectives: own:one" if part == "function" else "Objective 'one' (own:one): its"
    assert message.startswith(named)
    assert f'{__file__}", line' in message
    assert message.endswith('return {}["missing"]  # The line.')
    assert "/reverie/" not in message.replace(__file__, "")


def test_metrics_of_own_objectives_replace_none_of_others(own):
    def named(name):
        def loss(nets, state, seen, key):
            # The optimizer's is a float.
            return Loss({name: seen.data.reward}, metrics={"grad_norm": jnp.int32(1)})

        return lambda spec: Objective(name, {name: 1.0}, loss)

    metrics = trace(make(*PAPER, *own(opt=named("opt"), one=named("one"))))[3]
    assert metrics["opt/grad_norm"].dtype == jnp.float32
    assert metrics["one/grad_norm"].dtype == jnp.int32


@pytest.mark.parametrize(
    ("function", "keywords", "message"),
    [
        (lambda spec: None, [], "agent.objectives: own:one returned None; an Objective"),
        (
            lambda spec, scale=1.0: None,
            ["--agent.extra.one.scalee", "2"],
            r"agent.extra.one = \{'scalee': 2.*\}: own:one\(spec, scale=1.0\) .*'scalee'",
        ),
        (lambda: None, [], r"own:one\(\) cannot be called with a spec"),
    ],
)
def test_functions_that_make_no_objective(own, function, keywords, message):
    with pytest.raises(ConfigError, match=message):
        make(*PAPER, *own(one=function), flags=keywords)


def test_modules_and_names_that_are_missing(own, monkeypatch, tmp_path):
    own(one=mine, _hidden=mine)
    monkeypatch.setattr(mine, "__module__", "own")
    with pytest.raises(ConfigError, match=r"own has no function or class 'two'\. It has one\."):
        make("own:two")
    with pytest.raises(ConfigError, match="no module 'no_such' in the current folder or on PYTH"):
        make("no_such.part:one")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    (tmp_path / "own_broken.py").write_text("import no_such\n")
    with pytest.raises(ConfigError, match=r"ModuleNotFoundError: No .*own_broken.py, line 1"):
        make("own_broken:one")


def test_continuous_vectors_have_a_scale_of_their_own():
    obs = {**OBS, "mode": Space("discrete", (), "int32", (3,))}
    flags = ["--agent.loss_scales.rec", "2", "--agent.loss_scales.vec", "10"]
    scales = Agent(load(["--configs", "debug", *flags]).agent, obs, ACT).scales
    assert (scales["rec/vector"], scales["rec/mode"]) == (20.0, 2.0)
    with pytest.raises(ConfigError, match=r"loss_scales.vec = 3.0 scales no loss"):
        make("reward", flags=["--agent.loss_scales.vec", "3"])


def test_scales_of_own_losses_are_arguments():
    with pytest.raises(ConfigError, match=r"Unknown key .* set agent\.extra\.FUNCTION"):
        load(["--agent.loss_scales.inv", "0.5"])


@pytest.mark.parametrize(
    ("objectives", "flags", "message"),
    [
        (["reward"], ["--agent.loss_scales.rec", "2"], "loss_scales.rec = 2.0 scales no loss"),
        (["own:missing"], [], "agent.objectives: cannot load 'own:missing'"),
        (["dynamics"], [], "The agent needs the head 'pol', but those of .* = dynamics bring none"),
        (["actor_critic"], [], "'actor_critic' needs the head 'rew'.* bring pol, val"),
    ],
)
def test_lists_that_are_no_agent(objectives, flags, message):
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(make(*objectives, flags=flags).init, KEY)


def test_masks_need_a_decoder_that_predicts_them():
    obs = {**OBS, "action_mask": Space("discrete", (4,), "bool", (2,) * 4)}
    objectives = [name for name in PAPER if name != "reconstruction"]
    with pytest.raises(ValueError, match="'actor_critic' needs the head 'dec'"):
        jax.eval_shape(make(*objectives, obs=obs).init, KEY)


def test_keywords_are_of_functions_in_the_list():
    for flags in (["--agent.extra.mine.scale", "1"], ["--agent.extra.next", "1"]):
        with pytest.raises(ConfigError, match=r"agent.extra = .*which are none"):
            load(flags)
