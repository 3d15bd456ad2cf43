"""The world model: everything that is trained on replayed data."""

import equinox as eqx
import jax
from jaxtyping import Array, Key

from reverie.config import AgentConfig
from reverie.spaces import Space, mask_keys
from reverie.world.decoder import SimpleDecoder
from reverie.world.encoder import Encoder, load_encoder
from reverie.world.features import flat_width
from reverie.world.heads import ContinueHead, TwoHotHead
from reverie.world.rssm import RSSM


class WorldModel(eqx.Module):
    """Encoder, RSSM, decoder, reward head and continue head.

    Args:
        config: Sizes and options of all parts.
        obs_space: Observation keys without rewards and flags.
        act_space: Action keys.
        key: For the initial parameters.

    Attributes:
        masks: Pairs of an action key and the observation key that is its mask.
    """

    enc: Encoder
    dyn: RSSM
    dec: SimpleDecoder
    rew: TwoHotHead
    con: ContinueHead
    masks: tuple[tuple[str, str], ...] = eqx.field(static=True)

    def __init__(
        self,
        config: AgentConfig,
        obs_space: dict[str, Space],
        act_space: dict[str, Space],
        *,
        key: Key[Array, ""],
    ):
        keys = jax.random.split(key, 5)
        enc = config.enc
        self.masks = tuple(mask_keys(obs_space, act_space).items())
        options = enc.simple.model_dump() if enc.typ == "simple" else enc.extra
        self.enc = load_encoder(enc.typ)(obs_space, **options, key=keys[0])
        self.dyn = RSSM(
            self.enc.tokens, flat_width(act_space), **config.dyn.model_dump(), key=keys[1]
        )
        stoch = self.dyn.stoch * self.dyn.classes
        dec = config.dec.simple.model_dump()
        self.dec = SimpleDecoder(obs_space, self.dyn.deter, stoch, **dec, key=keys[2])
        features = self.dyn.feature_width
        self.rew = TwoHotHead(features, **config.rewhead.model_dump(), key=keys[3])
        self.con = ContinueHead(features, **config.conhead.model_dump(), key=keys[4])
