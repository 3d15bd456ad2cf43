"""What the heads of an agent expect at its latent states, in plain numbers."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from reverie.agent.networks import Networks
from reverie.config.sections.agent import AgentConfig


def expectations(
    nets: Networks, features: Float[Array, "*b F"], config: AgentConfig
) -> dict[str, Float[Array, "*b"]]:
    """As far as there are heads: `reward` on the way into each state, `continue` and `value`.

    `continue` is the probability that the episode does not terminate there, whether or not the head
    learns it together with the discount.
    """
    heads, found = nets.heads, {}
    if "rew" in heads:
        found["reward"] = heads["rew"](features).pred()
    if "con" in heads:
        con = heads["con"](features).prob()
        found["continue"] = con / (1 - 1 / config.horizon) if config.contdisc else con
    if "val" in heads:
        found["value"] = heads["val"](features).pred()
    return {name: value.astype(jnp.float32) for name, value in found.items()}
