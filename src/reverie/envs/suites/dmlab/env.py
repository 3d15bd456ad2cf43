"""DeepMind Lab as a gymnasium environment.

Beattie et al., "DeepMind Lab" (arXiv 1612.03801). Action sets after Espeholt et al., "IMPALA"
(arXiv 1802.01561), and Hessel et al., "Multi-task Deep Reinforcement Learning with PopArt"
(arXiv 1809.04474).
"""

import contextlib
import pathlib
from collections.abc import Iterator
from typing import Any

import deepmind_lab  # pyright: ignore[reportMissingImports]
import gymnasium
import numpy as np
from gymnasium import spaces as gs

from reverie.config.sections.env import DmlabConfig
from reverie.envs.errors import OptionError
from reverie.envs.suites.dmlab.cache import LevelCache
from reverie.envs.suites.dmlab.levels import find, names
from reverie.envs.suites.dmlab.text import BOUND, WIDTH, WORDS, embed

IMAGE = "RGB_INTERLEAVED"
TEXT = "INSTR"

HELD_OUT_SEEDS = 0x600D5EED
"""Mixed into all seeds in evaluation since IMPALA, so that training never meets the same ones."""


def _press(turn: int = 0, tilt: int = 0, strafe: int = 0, move: int = 0, fire: int = 0):
    """One action of the engine: pixels of looking right and down, and keys; no jump, no crouch."""
    return np.array([turn, tilt, strafe, move, fire, 0, 0], np.intc)


_WALK = (_press(move=1), _press(move=-1), _press(strafe=-1), _press(strafe=1))

ACTIONS: dict[str, tuple[np.ndarray, ...]] = {
    "impala": (
        *_WALK,
        *(_press(turn=turn) for turn in (-20, 20)),
        *(_press(turn=turn, move=1) for turn in (-20, 20)),
        _press(fire=1),
    ),
    "popart": (
        *_WALK,
        *(_press(turn=turn) for turn in (-10, 10, -60, 60)),
        *(_press(tilt=tilt) for tilt in (10, -10)),
        *(_press(turn=turn, move=1) for turn in (-10, 10, -60, 60)),
        _press(fire=1),
    ),
}
"""Actions of the engine by the name of the set: 9 and 15."""


class DmLab(gymnasium.Env):
    """One level: a Discrete action, and a Dict of observations.

    Observations are `image`, uint8 [height, width, 3], and with instructions `instruction`, float32
    [32, 32], the words of the level's text (see `text.embed`); the text itself is
    `info["instruction"]`.

    Almost every level ends when its clock runs out, which an agent cannot see and which the engine
    does not tell from other ends. Published scores treat it as the end of the task, and so does
    `episodic`: it is a termination. Without `episodic` it is a truncation: what could have come
    after it still counts, and the next episode starts as ever. Either way the engine shows nothing
    after the end, so that the last observation is the one before it again.

    A reset with a seed makes this and all later episodes repeat themselves.

    Args:
        name: A level, see `levels.find`.
        **options: Those of `DmlabConfig`. `repeat` counts frames, of which a second has 60.

    Raises:
        UnknownTaskError: There is no such level.
        OptionError: A folder that is not there, or cannot be made.
        RuntimeError: The engine refuses the level.
    """

    metadata = {"render_modes": ["rgb_array"]}  # noqa: RUF012 (gymnasium's own interface)
    render_mode = "rgb_array"

    def __init__(self, name: str, **options: Any):
        given = DmlabConfig(**options)
        dataset = pathlib.Path(given.dataset).expanduser()
        if given.dataset and not dataset.is_dir():
            raise OptionError(f"dataset={given.dataset!r}: there is no such folder.")
        self.task_name = f"dmlab_{name}"
        level = find(name, given.held_out)
        self._level = level.path
        self._repeat, self._episodic = given.repeat, given.episodic
        self._actions = ACTIONS[given.actions]
        asked = given.instructions
        self._reads = asked == "always" or (asked == "auto" and level.language)
        # The engine's own random seeds are those of the second in which it was loaded, the same in
        # many processes.
        self._fresh_seeds = None if given.use_seed else np.random.default_rng()
        height, width = given.size
        entries: dict[str, gymnasium.Space] = {
            "image": gs.Box(0, 255, (height, width, 3), np.uint8)
        }
        if self._reads:
            entries["instruction"] = gs.Box(-BOUND, BOUND, (WORDS, WIDTH), np.float32)
        self.observation_space = gs.Dict(entries)
        self.action_space = gs.Discrete(len(self._actions))
        self._running = False
        self._seen: tuple[np.ndarray, str] | None = None
        config = {"height": str(height), "width": str(width), "logLevel": "WARN"}
        if level.held_out:
            config |= {"allowHoldOutLevels": "true", "mixerSeed": str(HELD_OUT_SEEDS)}
        if given.dataset:
            config["datasetPath"] = str(dataset.absolute())
        # Old engines do not know the argument.
        cache = {"level_cache": LevelCache(given.level_cache)} if given.level_cache else {}
        shown = [IMAGE, TEXT] if self._reads else [IMAGE]
        with _explained(level.path):
            self._lab = deepmind_lab.Lab(
                level.path, shown, config=config, renderer=given.renderer, **cache
            )

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Starts an episode."""
        super().reset(seed=seed)
        # The engine counts episodes, and a level may depend on the count.
        again = seed is not None and self._fresh_seeds is None
        random = self.np_random if self._fresh_seeds is None else self._fresh_seeds
        with _explained(self._level):
            self._lab.reset(episode=0 if again else -1, seed=int(random.integers(2**31)))
        self._running = True
        return self._observe()

    def step(self, action: int) -> tuple[dict[str, np.ndarray], float, bool, bool, dict[str, Any]]:
        """Applies the action for `repeat` frames, or fewer where the episode ends."""
        if not self._running:
            raise gymnasium.error.ResetNeeded("Call reset() before step(), also after an episode.")
        reward = self._lab.step(self._actions[action], num_steps=self._repeat)
        self._running = self._lab.is_running()
        over = not self._running
        obs, info = self._observe()
        return obs, float(reward), over and self._episodic, over and not self._episodic, info

    def render(self) -> np.ndarray:
        """The current image [height, width, 3]."""
        return self._last()[0]

    def close(self) -> None:
        """Frees the engine."""
        self._running = False
        self._lab.close()

    def _observe(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        if self._running:
            found = self._lab.observations()
            self._seen = found[IMAGE], found.get(TEXT, "")
        image, text = self._last()
        if not self._reads:
            return {"image": image}, {}
        return {"image": image, "instruction": embed(text)}, {"instruction": text}

    def _last(self) -> tuple[np.ndarray, str]:
        if self._seen is None:
            raise gymnasium.error.ResetNeeded("Call reset() before render().")
        return self._seen


make = DmLab


def tasks() -> list[str]:
    """Names of the levels."""
    return names()


@contextlib.contextmanager
def _explained(level: str) -> Iterator[None]:
    """Says in one line which level an error of the engine is about."""
    try:
        yield
    except RuntimeError as error:
        words = " ".join(str(error).split())
        raise RuntimeError(f"DeepMind Lab cannot play the level {level!r}: {words}") from error
