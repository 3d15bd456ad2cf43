"""What decides a step of a model, and what is known of it afterwards."""

from typing import Any, NamedTuple

Arrays = dict[str, Any]
"""Arrays by key, of numpy outside of programs."""


class Chance(NamedTuple):
    """What decides the draws of a step: equal ones give equal draws.

    Attributes:
        seed: Of the whole dream.
        step: Steps since its first frame.
    """

    seed: int
    step: int


class Said(NamedTuple):
    """What the heads say about one latent state; arrays without batch axes.

    Attributes:
        obs: Decoded observations by key, images as uint8; empty where the agent has no decoder.
        reward: Expected on the way into the state.
        con: Probability that the episode goes on.
        value: Expected return from here on, discounted.
        entropy: Of the prior in nats, before the state was drawn.
        sampled: An action of the policy, as in training.
        likely: Its most likely action, as in evaluations.
        policy: Probabilities of all classes, entry after entry, or means, by action key.
        valid: Classes that the predicted action mask allows, by action key that has one.
    """

    obs: Arrays
    reward: Any
    con: Any
    value: Any
    entropy: Any
    sampled: Arrays
    likely: Arrays
    policy: Arrays
    valid: Arrays


class Seen(NamedTuple):
    """What an observation tells.

    Attributes:
        surprise: KL divergence in nats of the posterior from the prior: what it told that was not
            expected.
        seen_error: Loss of the reconstruction by key, having seen it.
        dream_error: Loss by key of what another state predicted in its place.
    """

    surprise: Any
    seen_error: Arrays
    dream_error: Arrays
