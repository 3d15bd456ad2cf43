"""What an environment says about itself before a run begins."""

import dataclasses

import gymnasium

from reverie.envs.flat.conform import name_of, native
from reverie.envs.flat.masks import MaskFromInfo
from reverie.envs.notes import Finding, of_wrappers


@dataclasses.dataclass(frozen=True)
class Probe:
    """What was seen of an environment.

    Attributes:
        name: Its name in messages.
        observation_space, action_space: As they are before Reverie's wrappers.
        masked: Whether its infos have masks that are used.
        fps: Steps per second at which it is to be shown; 0 if it does not say.
        notes: What there is to know about its wrappers.
    """

    name: str
    observation_space: gymnasium.Space
    action_space: gymnasium.Space
    masked: bool
    fps: float = 0.0
    notes: tuple[Finding, ...] = ()


def probe(env: gymnasium.Env) -> Probe:
    """Looks at a wrapped environment."""
    inner = native(env)
    masked = isinstance(inner, MaskFromInfo)
    fps = env.metadata.get("render_fps") or 0.0
    spaces = inner.observation_space, inner.action_space
    return Probe(name_of(env), *spaces, masked, fps, tuple(of_wrappers(env)))
