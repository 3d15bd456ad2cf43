"""Rollouts, and what they lack."""

import ml_dtypes
import numpy as np
import pytest

from reverie.actors.collector import Rollout, complete
from reverie.actors.inspected import CollectorError, Inspected
from reverie.agent.agent import Agent
from reverie.config.load import load
from reverie.spaces import Space

LATENTS = {
    "latent/deter": Space("continuous", (4,), "bfloat16"),
    "latent/stoch": Space("discrete", (3,), "uint8", (5, 5, 5)),
}


def rollout(steps, streams, **more):
    first = np.zeros((steps, streams), bool)
    return Rollout({"is_first": first, **more}, tuple(range(streams)))


def test_rows_are_the_steps_in_order():
    made = rollout(3, 2, obs=np.arange(6).reshape(3, 2))
    assert made.size == 6
    assert [row["obs"].tolist() for row in made.rows()] == [[0, 1], [2, 3], [4, 5]]


def test_missing_latents_are_those_before_any_step():
    steps = complete(rollout(3, 2), LATENTS).steps
    assert steps["latent/deter"].shape == (3, 2, 4)
    assert steps["latent/deter"].dtype == ml_dtypes.bfloat16
    assert not steps["latent/deter"].any()
    assert steps["latent/stoch"].shape == (3, 2, 3)
    assert (steps["latent/stoch"].astype(np.int8) == -1).all()


@pytest.mark.parametrize("classes", [255, 256, 257])
def test_what_stands_for_no_class_is_none(classes):
    config = load(["--configs", "debug", "--agent.dyn.classes", f"{classes}"])
    spaces = (
        {"obs": Space("continuous", (1,), "float32")},
        {"act": Space("discrete", (), "int32", (2,))},
    )
    latents = Agent(config.agent, *spaces).latent_spaces
    assert (complete(rollout(3, 2), latents).steps["latent/stoch"] >= classes).all()


def test_latents_that_are_there_stay():
    latents = {key: space.zeros(3, 2) for key, space in LATENTS.items()}
    made = rollout(3, 2, **latents)
    assert complete(made, LATENTS) is made
    assert complete(made, {}) is made


ACTIONS = {
    "jump": Space("discrete", (2,), "int32", (2, 3)),
    "turn": Space("continuous", (), "float32"),
}


class Own:
    """A collector of a user's: `made` is what it gives next."""

    made: object = None
    advice = "ask for less"

    def collect(self):
        return self.made


def inspected(actions, timeout=0, **options):
    own = Own()
    return own, Inspected(own, actions, timeout, **options)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("jump", [2, 0], "gives 2 as the action 'jump': expected 0 to 2"),
        ("jump", [0, -1], "gives -1 as"),
        ("turn", 1.5, r"gives 1\.5 as the action 'turn': expected -1 to 1"),
        ("turn", np.nan, "gives nan as"),
    ],
)
def test_an_action_outside_of_its_space_is_told(key, value, message):
    own, collector = inspected(ACTIONS)
    more = {key: space.zeros(3, 2) for key, space in ACTIONS.items()}
    more["turn"][0, 0] = 1 + 1e-6
    own.made = rollout(3, 2, **more)
    assert collector.collect() is own.made
    more[key][2, 1] = value
    with pytest.raises(CollectorError, match=message):
        collector.collect()


def test_a_collector_may_wait_for_steps_but_not_for_ever():
    times = [0.0]
    own, collector = inspected({}, timeout=10, clock=lambda: times[0])
    own.made = rollout(0, 2)
    for times[0] in (5, 14, 15):
        collector.collect()
    own.made = rollout(1, 2)
    collector.collect()
    own.made = rollout(1, 0)
    for times[0] in (20, 30):
        collector.collect()
    times[0] = 31
    with pytest.raises(CollectorError, match=r"no steps for 11 seconds.*run\.env_timeout"):
        collector.collect()


def test_what_is_no_rollout_is_told():
    own, collector = inspected({})
    own.made = {"obs": 0}
    with pytest.raises(CollectorError, match=r"returned a dict: .* reverie\.actors\.collector\.Ro"):
        collector.collect()


def test_the_advice_of_a_collector_is_passed_on():
    own, collector = inspected({})
    assert collector.advice == own.advice
