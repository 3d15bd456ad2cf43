"""All networks of the agent."""

import equinox as eqx
import jax
from jaxtyping import Array, Key

from reverie.config import AgentConfig
from reverie.spaces import Space
from reverie.world.heads import PolicyHead, TwoHotHead
from reverie.world.model import WorldModel


class Networks(eqx.Module):
    """All trained parameters.

    Args:
        config: Sizes of the networks.
        obs_space: Observation keys, without reward and flags.
        act_space: Action keys.
        key: Of the initial values.
    """

    world: WorldModel
    pol: PolicyHead
    val: TwoHotHead

    def __init__(
        self,
        config: AgentConfig,
        obs_space: dict[str, Space],
        act_space: dict[str, Space],
        *,
        key: Key[Array, ""],
    ):
        world_key, pol_key, val_key = jax.random.split(key, 3)
        self.world = WorldModel(config, obs_space, act_space, key=world_key)
        width = self.world.dyn.feature_width
        self.pol = PolicyHead(width, act_space, **config.policy.model_dump(), key=pol_key)
        self.val = TwoHotHead(width, **config.value.model_dump(), key=val_key)
