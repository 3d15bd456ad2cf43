"""What an environment says about itself before a run begins."""

import dataclasses

import gymnasium

from reverie.envs.flat.conform import name_of, native
from reverie.envs.flat.masks import MaskFromInfo


@dataclasses.dataclass(frozen=True)
class Probe:
    """What was seen of an environment.

    Attributes:
        name: Its name in messages.
        observation_space, action_space: As they are before Reverie's wrappers.
        masked: Whether its infos have masks that are used.
        fps: Steps per second at which it is to be shown; 0 if it does not say.
    """

    name: str
    observation_space: gymnasium.Space
    action_space: gymnasium.Space
    masked: bool
    fps: float = 0.0


def probe(env: gymnasium.Env) -> Probe:
    """Looks at a wrapped environment."""
    inner = native(env)
    masked = isinstance(inner, MaskFromInfo)
    fps = env.metadata.get("render_fps") or 0.0
    return Probe(name_of(env), inner.observation_space, inner.action_space, masked, fps)
