"""A small task that only a whole agent learns, the agent, and bugs to plant in it.

    python tests/learning/recall.py FOLDER [BUG]

trains in the folder and prints the mean score of 200 episodes.
"""

import pathlib
import sys
from collections.abc import Callable
from typing import Any

import gymnasium
import jax.numpy as jnp
from gymnasium import spaces as gs

import reverie
from reverie.actors.host import HostCollector
from reverie.agent.agent import Agent
from reverie.agent.objectives import actor_critic
from reverie.nn.dists import Categorical
from reverie.replay.replay import Replay
from reverie.world.rssm import RSSM

UNIT = 0.02
"""Reward of a right answer: small, so that it has to be normalised to count beside the entropy."""

LENGTH = 16
"""Mean steps of an episode that nothing but chance ends."""


class Recall(gymnasium.Env):
    """Every step shows a mark, 1 or 2, and asks for the mark of the step *before*; at first for 0.

    A right answer gives 1 unit. The one above it (2 after 1, 0 after 2) gives 4 units and ends the
    episode; the one below it costs 2 units. At the first step every answer but 0 ends the episode
    with nothing. Besides, one step in 16 ends the episode as a truncation, which nothing announces.

    With the discount 0.9 going on is worth 10 units, more than 4, as long as the end is known to
    be one and what comes after the imagined steps counts in full.
    """

    observation_space = gs.Discrete(2)
    action_space = gs.Discrete(3)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[int, dict[str, Any]]:
        """Starts an episode."""
        super().reset(seed=seed)
        self._right = 0
        self._left = min(int(self.np_random.geometric(1 / LENGTH)), 4 * LENGTH)
        self._mark = int(self.np_random.integers(1, 3))
        return self._mark - 1, {}

    def step(self, action: int) -> tuple[int, float, bool, bool, dict[str, Any]]:
        """Answers."""
        off = int(action - self._right) % 3
        units = (1, 4, -2)[off]
        ended = off == 1
        if self._right == 0 and off:
            units, ended = 0, True
        self._left -= 1
        self._right, self._mark = self._mark, int(self.np_random.integers(1, 3))
        return self._mark - 1, UNIT * units, ended, not ended and self._left == 0, {}


OPTIONS = {
    "batch_size": 32,
    # No batch holds a mark and the reward for recalling it: only stored latents carry it over.
    "batch_length": 2,
    "report_length": 2,
    "run": {"envs": 8, "eval_envs": 20, "report_every": 0, "save_every": 0, "log_every": 5,
            "env_backend": "sync"},
    "logger": {"outputs": ["jsonl"]},
    "jax": {"platform": "cpu", "devices": [0]},
    "replay": {"size": 20_000, "online": False},
    r".*\.deter": 64,
    r".*\.hidden": 32,
    r".*\.stoch": 8,
    r".*\.classes": 4,
    r".*\.units": 32,
    r".*\.layers": 1,
    "agent.opt": {"lr": 2e-3, "warmup": 50},
    "agent.horizon": 10,
    "agent.imag_length": 2,
    "agent.imag_loss.actent": 0.1,
    "agent.retnorm.limit": UNIT,
}  # fmt: skip


def train(folder: pathlib.Path, bug: str = "") -> float:
    """Trains, and returns the mean score of 200 episodes in units."""
    options = {**OPTIONS, **((BUGS[bug]() if bug else None) or {})}
    # Nearly half of the steps are those of an agent that has learnt nothing: their latents mean
    # nothing to it later, if no update refreshes them.
    for steps, ratio in ((1500, 0), (3500, 128)):
        run = {**OPTIONS["run"], "steps": steps, "train_ratio": ratio}
        reverie.train(Recall, logdir=folder, **{**options, "run": run})
    result = reverie.load(folder).evaluate(Recall, 200, seed=1, deterministic=False)
    return result.mean_score / UNIT


def _no_reset() -> None:
    observe = RSSM.observe
    RSSM.observe = lambda self, state, tokens, action, reset, noise, draws: observe(
        self, state, tokens, action, jnp.zeros_like(reset), noise, draws
    )


def _aligned(change: Callable[[Agent, dict, Any], dict[str, Any]]) -> Callable[[], None]:
    """Plants a change of the sequences that updates see."""

    def plant() -> None:
        align = Agent.align

        def changed(self, carry, batch):
            carry, data = align(self, carry, batch)
            return carry, data._replace(**change(self, batch, data))

        Agent.align = changed

    return plant


def _late_actions(agent, batch, data):
    return {"prevact": {key: batch[key][:, agent.context :] for key in agent.act_space}}


def _early_reward() -> None:
    collect = HostCollector.collect

    def changed(self):
        held = self.__dict__.setdefault("held", None) or collect(self)
        self.held = collect(self)
        held.steps["reward"] = self.held.steps["reward"]
        return held

    HostCollector.collect = changed


def _frozen_slow_value() -> None:
    actor_critic._settle = lambda config, state, nets, updates: state


class _Flipped:
    """A policy whose actions become likelier the worse they were."""

    def __init__(self, dist: Categorical):
        self.entropy = dist.entropy
        self.log_prob = lambda action: -dist.log_prob(action)


def _advantage_sign() -> None:
    masked = actor_critic.masked
    actor_critic.masked = lambda dists, masks: {
        key: _Flipped(dist) for key, dist in masked(dists, masks).items()
    }


def _entropy_sign() -> None:
    entropy = Categorical.entropy
    Categorical.entropy = lambda self: -entropy(self)


def _not_written_back() -> None:
    Replay.write = lambda self, target, latents: None


def _latents_of_another_step() -> None:
    write = Replay.write
    Replay.write = lambda self, target, latents: write(
        self, target, {key: jnp.roll(jnp.asarray(x), 1, 1) for key, x in latents.items()}
    )


BUGS: dict[str, Callable[[], dict[str, Any] | None]] = {
    "no reset masking": _no_reset,
    "actions shifted by one": _aligned(_late_actions),
    "continue flag ignored": _aligned(lambda a, b, x: {"is_terminal": jnp.zeros_like(x.is_last)}),
    "terminal and truncated mixed up": _aligned(
        lambda a, b, x: {"is_terminal": x.is_last & ~x.is_terminal}
    ),
    "reward shifted by one": _early_reward,
    "return normalisation off": lambda: {"agent.retnorm.impl": "none"},
    "slow value frozen": _frozen_slow_value,
    "advantage sign": _advantage_sign,
    "replay context not written back": _not_written_back,
    "entropy sign": _entropy_sign,
    "stored latents of another step": _latents_of_another_step,
}
"""Name -> plants the bug in this process, and may return options. Scores: `test_recall`."""


if __name__ == "__main__":
    print(train(pathlib.Path(sys.argv[1]), *sys.argv[2:3]))
