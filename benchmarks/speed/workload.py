"""An agent on its devices with synthetic data of the right shapes."""

import dataclasses
import pathlib

import numpy as np
from cases import SPACES

from reverie.config.schema import Config
from reverie.learner.learner import Learner
from reverie.learner.policy import Policy
from reverie.run.parts import build
from reverie.spaces import FLAGS, Space

Arrays = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Workload:
    """What is measured on.

    Attributes:
        config: Resolved configuration.
        obs_space: Observation keys.
        act_space: Action keys.
        learner: Agent with initial parameters.
    """

    config: Config
    obs_space: dict[str, Space]
    act_space: dict[str, Space]
    learner: Learner

    @property
    def dtype(self) -> str:
        """Compute dtype, resolved; the recurrent state is stored in it."""
        return self.learner.agent.latent_spaces["latent/deter"].dtype

    def policy(self) -> Policy:
        """Acts with the parameters of the learner, where a run does."""
        params, device = self.learner.acting(), self.learner.placement.policy
        return Policy(self.learner.agent, params, device=device, seed=self.config.seed)

    def batch(self, seed: int) -> Arrays:
        """A replayed batch [B, K+T, ...] of random steps without an episode end."""
        rng = np.random.default_rng(seed)
        config = self.config
        size, context = config.batch_size, config.replay_context
        shape = (size, context + config.batch_length)
        spaces = {**self.obs_space, **self.act_space}
        arrays = {key: draw(space, rng, shape) for key, space in spaces.items()}
        arrays |= {key: np.zeros(shape, bool) for key in FLAGS}
        arrays["reward"] = rng.uniform(0, 1, shape).astype(np.float32)
        arrays["consec"] = np.zeros(size, np.int32)
        latents = self.learner.agent.latent_spaces.items()
        return arrays | {key: space.zeros(size, context) for key, space in latents}

    def obs(self, envs: int, seed: int) -> Arrays:
        """What a policy call gets from `envs` environments in the middle of an episode."""
        rng = np.random.default_rng(seed)
        arrays = {key: draw(space, rng, (envs,)) for key, space in self.obs_space.items()}
        return arrays | {key: np.zeros(envs, bool) for key in FLAGS}


def make_workload(config: Config, obs: str, scratch: pathlib.Path) -> Workload:
    """Builds the agent as a run does.

    Args:
        config: Resolved configuration.
        obs: Key of `SPACES`.
        scratch: Folder for evidence, should training produce a NaN.
    """
    obs_space, act_space = SPACES[obs]
    placement = build.placement(config)
    agent = build.agent(config, obs_space, act_space, placement.platform)
    learner = Learner(
        agent,
        placement=placement,
        seed=config.seed,
        dump_folder=scratch,
        fast_compile=config.jax.fast_compile,
    )
    return Workload(config, obs_space, act_space, learner)


def draw(space: Space, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Random values of a space with leading axes `shape`; continuous ones are in [-1, 1]."""
    whole = (*shape, *space.shape)
    if space.kind == "image":
        return rng.integers(0, 256, whole).astype(space.dtype)
    if space.kind == "discrete":
        classes = np.reshape(space.classes, space.shape)
        return rng.integers(0, classes, whole).astype(space.dtype)
    return rng.uniform(-1, 1, whole).astype(space.dtype)
