"""Rollouts, and what they lack."""

import ml_dtypes
import numpy as np
import pytest

from reverie.actors.collector import Rollout, complete
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
