"""All networks of the agent, and what they are made from."""

import collections
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Array, Key

from reverie.agent.precision import cast_floats
from reverie.config.named import attributed, by_name
from reverie.config.sections.agent import AgentConfig
from reverie.errors import ConfigError
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
        dtype: Compute dtype.
    """

    config: AgentConfig
    obs_space: dict[str, Space]
    act_space: dict[str, Space]
    draws: Draws
    dtype: np.dtype

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
        self.enc = _encoder(spec, enc_key)
        width = flat_width(spec.act_space)
        self.dyn = RSSM(self.enc.tokens, width, **spec.config.dyn.model_dump(), key=dyn_key)
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


def _encoder(spec: Spec, key: Key[Array, ""]) -> Encoder:
    """The encoder; of one of the user's own each mistake is a ConfigError that names it."""
    enc = spec.config.enc
    make = by_name("agent.enc.typ", enc.typ, ENCODERS)
    if enc.typ in ENCODERS:
        return make(spec.obs_space, **enc.simple.model_dump(), key=key)
    who, dtype = f"agent.enc.typ: {enc.typ}", spec.dtype
    obs = {k: jax.ShapeDtypeStruct((1, *x.shape), x.dtype) for k, x in spec.obs_space.items()}
    with attributed(who):
        made = make(spec.obs_space, **enc.extra, key=key)
        tokens = made.tokens
    for path, leaf in jax.tree_util.tree_leaves_with_path(made):
        if not eqx.is_array_like(leaf):
            raise ConfigError(
                f"{who} holds a {type(leaf).__name__}{jax.tree_util.keystr(path)}. It has to be an "
                "equinox.Module, and what is no array a field of it with static=True."
            )
    with attributed(who):
        # As it is called: with the parameters cast.
        call = lambda enc, obs: cast_floats(enc, dtype)(obs, dtype)  # noqa: E731
        found = jax.eval_shape(call, made, obs)
    if (found.shape, found.dtype) != ((1, tokens), dtype):
        raise ConfigError(
            f"{who} gives {found.dtype} of shape {found.shape} for one observation; expected the "
            f"dtype that it is called with, here {dtype}, and (1, tokens), here (1, {tokens})."
        )
    return made
