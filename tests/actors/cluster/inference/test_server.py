"""What acts for many actors, called in this process: equal to a policy of one's own."""

import asyncio
import functools
import threading
import types
from typing import NamedTuple

import cloudpickle
import jax
import numpy as np
import pytest

from reverie.actors.cluster.chunk import Failure
from reverie.actors.cluster.inference.server import Answer, InferenceServer, Model
from reverie.agent.agent import Agent
from reverie.config.load import load
from reverie.learner.compilation.programs import state_shapes
from reverie.learner.nonfinite import NonFiniteError
from reverie.learner.placement.devices import DeviceError
from reverie.learner.policy import Params, Policy
from reverie.spaces import Space

ENVS = 2


class State(NamedTuple):
    params: dict


class Summing:
    """Remembers the sum of what it has seen since the first step, and acts on that."""

    obs_space = {"obs": Space("continuous", (3,), "float32")}  # noqa: RUF012

    def init(self, key):
        return State({"kernel": jax.random.normal(key, (3, 3))})

    def init_carry(self, n):
        return {"sum": jax.numpy.zeros((n, 3))}

    def policy(self, params, carry, obs, key, mode="train"):
        before = jax.numpy.where(obs["is_first"][:, None], 0.0, carry["sum"])
        after = before + obs["obs"] @ params["kernel"]
        action = after.sum(-1) + jax.random.normal(key, after.shape[:1])
        return {"sum": after}, {"action": action}, {"latent/deter": after}


REAL = functools.partial(
    Agent,
    load(configs=["debug"]).agent,
    {"obs": Space("continuous", (3,), "float32")},
    {"action": Space("discrete", (), "int32", (4,))},
)


def params_of(agent, seed=0):
    rng = np.random.default_rng(seed)
    return [
        rng.normal(size=x.shape, scale=0.1).astype(x.dtype)
        for x in jax.tree.leaves(state_shapes(agent).params)
    ]


@pytest.fixture
def params():
    return [params_of(Summing(), seed) for seed in range(2)]


@pytest.fixture
def make(monkeypatch):
    """Makes a server with a seed for three actors at most, on the device of this process."""
    place = types.SimpleNamespace(policy=jax.devices()[0])
    monkeypatch.setattr(
        "reverie.learner.placement.devices.configure", lambda *args, **options: place
    )
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    return lambda: InferenceServer([], ".", None)


def reference(params):
    """What is awaited where Ray would give a reference."""
    done = asyncio.get_running_loop().create_future()
    done.set_result(params)
    return [done]


async def start(server, params, session="one", version=5, agent=Summing):
    model = cloudpickle.dumps(Model(agent, "cpu", 0, actors=3, envs=ENVS, fast_compile=True))
    return await server.start(session, model, 7, version, reference(params))


def observations(step, envs=ENVS):
    rng = np.random.default_rng(step)
    first = np.full(envs, step == 0)
    first[-1] |= step == 2  # One episode ends while another goes on.
    obs = rng.normal(size=(envs, 3)).astype(np.float32)
    return {"obs": obs, "is_first": first, "is_last": np.zeros(envs, bool)}


def of_actor(obs, index):
    return {key: value[index * ENVS :][:ENVS] for key, value in obs.items()}


def check_equal(answers, actions, latents):
    for index, answer in enumerate(answers):
        found = {**answer.actions, **answer.latents}
        for key, value in of_actor({**actions, **latents}, index).items():
            assert found[key].dtype == value.dtype
            np.testing.assert_allclose(found[key], value, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("agent", [Summing, REAL])
def test_it_acts_for_several_actors_as_a_policy_does_for_all_their_environments(make, agent):
    params = params_of(agent())
    policy = Policy(agent(), Params(5, params), seed=7, fast_compile=True)

    async def play():
        server, carry, carries = make(), policy.init(2 * ENVS), [None, None]
        assert await start(server, params, agent=agent) is None
        for step in range(4):
            obs = observations(step, 2 * ENVS)
            # The program for two of three actors has room for all, which nobody may notice.
            asked = [server.act(carries[index], of_actor(obs, index)) for index in range(2)]
            answers = await asyncio.gather(*asked)
            carry, actions, latents = policy.act(carry, obs)
            check_equal(answers, actions, latents)
            assert {answer.version for answer in answers} == {5}
            carries = [answer.carry for answer in answers]
        assert await server.counts("one") == (4, 8, 0.0)

    asyncio.run(play())


def test_one_that_is_started_again_goes_on_where_the_one_before_has_died(make, params):
    policy = Policy(Summing(), Params(5, params[0]), seed=7, fast_compile=True)

    async def play():
        carry, kept = policy.init(ENVS), None
        for step in range(4):
            server = make()  # Remembers nothing.
            asked = asyncio.create_task(server.act(kept, observations(step)))
            await asyncio.sleep(0)
            assert not asked.done()  # It has nothing to act with.
            assert await start(server, params[0]) is None
            answer = await asked
            policy.restore({"train_calls": 0})
            carry, actions, latents = policy.act(carry, observations(step))
            check_equal([answer], actions, latents)
            kept = answer.carry

    asyncio.run(play())


def test_parameters_are_those_that_its_learner_has_given_last(make, params):
    async def play():
        server = make()
        await start(server, params[0])
        first = await server.act(None, observations(0))
        await server.take("one", 6, reference(params[1]))
        await server.take("one", 4, reference(params[0]))  # Late.
        await server.take("dead", 9, reference(params[0]))
        second = await server.act(None, observations(0))
        assert (first.version, second.version) == (5, 6)
        assert not np.allclose(first.latents["latent/deter"], second.latents["latent/deter"])
        await start(server, params[0], session="two", version=3)  # Resumed at an older one.
        third = await server.act(None, observations(0))
        assert third.version == 3
        np.testing.assert_array_equal(third.latents["latent/deter"], first.latents["latent/deter"])

    asyncio.run(play())


def test_more_asks_than_actors_are_answered_in_turns(make, params):
    """As where one was killed while it waited, and another one asks in its place."""

    async def play():
        server = make()
        asked = [asyncio.create_task(server.act(None, observations(0))) for _ in range(5)]
        await asyncio.sleep(0)
        await start(server, params[0])
        assert all(isinstance(each, Answer) for each in await asyncio.gather(*asked))
        assert await server.counts("one") == (2, 5, 0.0)
        assert await server.counts("two") is None

    asyncio.run(asyncio.wait_for(play(), 400))


def test_a_learner_that_comes_while_the_one_before_starts_it_is_the_one_it_works_for(
    make, params, monkeypatch
):
    async def play():
        server, made, going_on = make(), [], threading.Event()
        slow = InferenceServer._make

        def slowly(*args):
            made.append(args)
            going_on.wait()
            return slow(*args)

        monkeypatch.setattr(InferenceServer, "_make", slowly)
        asked = asyncio.create_task(server.act(None, observations(0)))
        first = asyncio.create_task(start(server, params[0], session="dead"))
        second = asyncio.create_task(start(server, params[1], session="two", version=9))
        while await server.counts("two") is None:  # It does not know the second one yet.
            await asyncio.sleep(0)
        going_on.set()
        assert await asyncio.gather(first, second) == [None, None]
        assert (await asked).version == 9
        assert len(made) == 1

    asyncio.run(asyncio.wait_for(play(), 400))


def test_what_acting_raises_is_told_to_all_who_have_asked(make, params):
    async def play():
        server = make()
        await start(server, [np.full_like(x, np.nan) for x in params[0]])
        found = await asyncio.gather(*[server.act(None, observations(0)) for _ in range(2)])
        assert all(isinstance(each, Failure) for each in found)
        assert isinstance(found[0].error("It"), NonFiniteError)
        await server.take("one", 6, reference(params[0]))
        assert isinstance(await server.act(None, observations(0)), Answer)

    asyncio.run(play())


def test_a_device_that_is_not_there_is_told(make, params, monkeypatch):
    def missing(*args, **options):
        raise RuntimeError("no such device")

    monkeypatch.setattr("reverie.learner.placement.devices.configure", missing)
    failure = asyncio.run(start(make(), params[0]))
    assert str(failure.error("It")) == "no such device"


def test_what_the_device_lacks_is_told_with_the_options_of_this_process(make, params, monkeypatch):
    def none(*args, **options):
        raise DeviceError("jax.policy_device is [5]")

    monkeypatch.setattr("reverie.learner.placement.devices.configure", none)
    failure = asyncio.run(start(make(), params[0]))
    assert "ray.inference_device: jax.policy_device is [5]" in str(failure.error("It"))

    def full(*args):
        raise RuntimeError("RESOURCE_EXHAUSTED: Out of memory")

    monkeypatch.setattr(InferenceServer, "_make", full)
    failure = asyncio.run(start(make(), params[0]))
    assert "XLA_PYTHON_CLIENT_MEM_FRACTION=0.6" in str(failure.error("It"))


@pytest.mark.parametrize(
    ("actors", "envs", "sizes"), [(1, 2, [2]), (4, 1, [1, 2, 4]), (64, 8, [64, 128, 256, 512])]
)
def test_there_are_few_programs(actors, envs, sizes):
    assert Model(Summing, "cpu", 0, actors, envs).sizes == sizes
