"""Fast made-up tasks with every kind of space, for tests and benchmarks.

Each has an instruction in its observation that the right action follows, so an agent that works
learns them.
"""

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces as gs

from reverie.config.sections.env import DummyConfig
from reverie.envs.errors import unknown_task

FRAMES = 16
BLOCK = 64
"""Random numbers are drawn for this many steps at once, to be fast."""

ACTIONS = {
    "disc": gs.Discrete(5),
    "cont": gs.Box(-2.0, 3.0, (3,), np.float32),
    "multi": gs.MultiDiscrete([2, 3, 5]),
    "hybrid": gs.Dict(
        {
            "choice": gs.Discrete(5),
            "force": gs.Box(-2.0, 3.0, (3,), np.float32),
            "switches": gs.MultiBinary(2),
        }
    ),
}


class Dummy(gymnasium.Env):
    """Observations of every kind; reward 1 for the action that `cue` asks for.

    A discrete action should equal `cue`, entries of other actions should have the relative
    position `cue / 5` in their range; the reward falls with the mean distance. Episodes terminate
    after `length` steps.

    Args:
        name: Kind of action: `disc`, `cont`, `multi` or `hybrid`.
        **options: Those of `DummyConfig`.
    """

    metadata = {"render_modes": ["rgb_array"]}  # noqa: RUF012 (gymnasium's own interface)
    render_mode = "rgb_array"

    def __init__(self, name: str = "disc", **options: Any):
        given = DummyConfig(**options)
        if name not in ACTIONS:
            raise unknown_task("dummy", name, ACTIONS)
        self.task_name = f"dummy_{name}"
        self._length = given.length
        self._frames = _frames(given.size)
        self.action_space = ACTIONS[name]
        self.observation_space = gs.Dict(
            {
                "image": gs.Box(0, 255, self._frames.shape[1:], np.uint8),
                "vector": gs.Box(-np.inf, np.inf, (7,), np.float32),
                "matrix": gs.Box(-1.0, 1.0, (2, 3), np.float64),
                "scalar": gs.Box(0.0, 1.0, (), np.float32),
                "bytes": gs.Box(0, 255, (4,), np.uint8),
                "cue": gs.Discrete(5),
                "count": gs.Discrete(given.length + 1, start=-1),
                "digits": gs.MultiDiscrete([2, 3, 5]),
                "flags": gs.MultiBinary(4),
                "nested": gs.Dict(
                    {
                        "inner": gs.Box(-1.0, 1.0, (2,), np.float32),
                        "pair": gs.Tuple((gs.Discrete(3), gs.Box(0.0, 1.0, (1,), np.float32))),
                    }
                ),
                "log": gs.Dict({"progress": gs.Box(0.0, 1.0, (), np.float32)}),
            }
        )
        self._time = 0
        self._cue = 0
        self._noise = np.zeros((BLOCK, 7), np.float32)
        self._cues = np.zeros(BLOCK, np.int64)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Starts an episode."""
        super().reset(seed=seed)
        self._time = 0
        return self._observe(), {}

    def step(self, action: Any) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        """One step."""
        reward = 1.0 - _distance(self.action_space, action, self._cue)
        self._time += 1
        over = self._time >= self._length
        return self._observe(), reward, over, False, {"log/hit": float(reward > 0.9)}

    def render(self) -> np.ndarray:
        """The current image."""
        return self._frames[self._time % FRAMES].copy()

    def _observe(self) -> dict[str, Any]:
        row = self._time % BLOCK
        if row == 0:
            self._noise = self.np_random.uniform(-1, 1, (BLOCK, 7)).astype(np.float32)
            self._cues = self.np_random.integers(0, 5, BLOCK)
        self._cue, noise = int(self._cues[row]), self._noise[row].copy()
        return {
            "image": self._frames[self._time % FRAMES].copy(),
            "vector": noise,
            "matrix": noise[:6].reshape(2, 3).astype(np.float64),
            "scalar": np.array(self._time / self._length, np.float32),
            "bytes": np.full(4, self._time % 256, np.uint8),
            "cue": self._cue,
            "count": self._time - 1,
            "digits": np.array([self._time % 2, self._time % 3, self._time % 5]),
            "flags": np.arange(4) == self._time % 4,
            "nested": {
                "inner": noise[:2].copy(),
                "pair": (self._time % 3, np.full(1, 0.5, np.float32)),
            },
            "log": {"progress": np.array(self._time / self._length, np.float32)},
        }


make = Dummy


def tasks() -> list[str]:
    """Names of the tasks."""
    return list(ACTIONS)


def _frames(size: tuple[int, ...]) -> np.ndarray:
    """A short loop of a moving bar."""
    height, width = size
    frames = np.zeros((FRAMES, height, width, 3), np.uint8)
    for index in range(FRAMES):
        left = index * width // FRAMES
        frames[index, :, left : left + max(1, width // FRAMES)] = (255, 128, 64)
    return frames


def _distance(space: gymnasium.Space, action: Any, cue: int) -> float:
    """Mean distance of an action from what the cue asks for, in 0..1."""
    if isinstance(space, gs.Dict):
        parts = [_distance(part, action[key], cue) for key, part in space.items()]
        return sum(parts) / len(parts)
    if isinstance(space, gs.Discrete):
        return float(action != cue)
    if isinstance(space, gs.MultiDiscrete):
        return float(np.mean(action != cue * space.nvec // 5))
    if isinstance(space, gs.MultiBinary):
        return float(np.mean(action != cue // 3))
    assert isinstance(space, gs.Box)
    return float(np.mean(np.abs((action - space.low) / (space.high - space.low) - cue / 5)))
