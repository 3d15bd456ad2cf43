"""All networks of the agent, and what they are made from."""

import collections
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import equinox as eqx
import jax
from jaxtyping import Array, Key

from reverie.config.errors import ConfigError
from reverie.config.named import by_name
from reverie.config.sections.agent import AgentConfig
from reverie.nn.draws import Draws
from reverie.spaces import Space, mask_keys
from reverie.world.encoder import ENCODERS, Encoder
from reverie.world.features import flat_width
from reverie.world.rssm import RSSM


class Spec(NamedTuple):
    """What networks and objectives are made from.

    Attributes:
        config: Options of the agent.
        obs_space: Observation keys, without reward and flags.
        act_space: Action keys.
        draws: Where samples come from.
    """

    config: AgentConfig
    obs_space: dict[str, Space]
    act_space: dict[str, Space]
    draws: Draws

    @property
    def stoch(self) -> int:
        """Width of the flattened samples."""
        return self.config.dyn.stoch * self.config.dyn.classes

    @property
    def features(self) -> int:
        """Width of the input of heads: the deterministic state, then the flattened samples."""
        return self.config.dyn.deter + self.stoch

    @property
    def masks(self) -> dict[str, str]:
        """Action keys that have a mask -> the observation key that is their mask."""
        return mask_keys(self.obs_space, self.act_space)


class Networks(eqx.Module):
    """All trained parameters: encoder, dynamics, and the heads of the objectives.

    Args:
        spec: Sizes and spaces.
        heads: Name of an objective -> what makes its heads from a key.
        key: Of the initial values.

    Attributes:
        heads: By name. They keep the order of the objectives, which is the order of the moments in
            the optimizer, and so in every checkpoint.
    """

    enc: Encoder
    dyn: RSSM
    heads: dict[str, Any]

    def __init__(
        self,
        spec: Spec,
        heads: Mapping[str, Callable[[Key[Array, ""]], Mapping[str, eqx.Module]]],
        *,
        key: Key[Array, ""],
    ):
        enc_key, dyn_key, *keys = jax.random.split(key, 2 + len(heads))
        enc, dyn = spec.config.enc, spec.config.dyn
        options = enc.simple.model_dump() if enc.typ == "simple" else enc.extra
        make_encoder = by_name("agent.enc.typ", enc.typ, ENCODERS)
        self.enc = make_encoder(spec.obs_space, **options, key=enc_key)
        width = flat_width(spec.act_space)
        self.dyn = RSSM(self.enc.tokens, width, **dyn.model_dump(), key=dyn_key)
        # A plain dict would be sorted.
        self.heads = collections.OrderedDict()
        owners: dict[str, str] = {}
        for (name, make), head_key in zip(heads.items(), keys, strict=True):
            made = make(head_key)
            if twice := sorted(self.heads.keys() & made.keys()):
                raise ConfigError(
                    f"The objectives {owners[twice[0]]!r} and {name!r} of agent.objectives both "
                    f"bring the head {twice[0]!r}. Rename one of the two heads."
                )
            self.heads.update(made)
            owners |= dict.fromkeys(made, name)
