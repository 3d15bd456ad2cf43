"""A stand-in for the engine of DeepMind Lab, which no package index has.

It has the interface and the errors of the real module, and is stricter where that leaves the
behaviour open. A level is a field of coloured noise: it depends on the seeds, the episode and the
number of frames, walking forward gives a reward, and the clock ends it.
"""

import pathlib
import tempfile

import numpy as np

FRAMES = 242
"""Frames per episode, of 60 in a second; levels of the real engine take minutes."""

SENTENCES = ("Pick the red object in the blue room.", "Are all cars blue?")

LEVELS = ("lt_chasm", "seekavoid_arena_01", "tests/empty_room_test")
DMLAB30 = "contributed/dmlab30/"

ENGINE_SETTINGS = {"width", "height", "fps", "logLevel", "mixerSeed", "allowHoldOutLevels"}
LEVEL_SETTINGS = {"datasetPath", "episodeLengthSeconds"}

BOUNDS = (
    ("LOOK_LEFT_RIGHT_PIXELS_PER_FRAME", -512, 512),
    ("LOOK_DOWN_UP_PIXELS_PER_FRAME", -512, 512),
    ("STRAFE_LEFT_RIGHT", -1, 1),
    ("MOVE_BACK_FORWARD", -1, 1),
    ("FIRE", 0, 1),
    ("JUMP", 0, 1),
    ("CROUCH", 0, 1),
)

made = []
"""Every `Lab` so far, with the arguments of its calls."""


class Lab:
    def __init__(self, level, observations, config={}, renderer="software", level_cache=None):  # noqa: B006
        made.append(self)
        self.calls = []
        self.level, self.level_cache, self.renderer = level, level_cache, renderer
        self.compiled = 0
        self._status, self._episode = "uninitialized", 0
        for value, kind in ((level, str), (observations, list), (config, dict), (renderer, str)):
            if not isinstance(value, kind):
                raise TypeError(f"must be {kind.__name__}, not {type(value).__name__}")
        if renderer not in ("software", "hardware"):
            raise RuntimeError(f"Failed to set renderer must be one of two, actual {renderer!r}!")
        for key, value in config.items():
            if not (isinstance(key, str) and isinstance(value, str)):
                raise TypeError("bad argument type for built-in operation")
        self.config = {"width": "320", "height": "240", "mixerSeed": "0", **config}
        self._init()
        known = {spec["name"] for spec in self.observation_spec()}
        for name in observations:
            if name not in known:
                raise ValueError(f"Unknown observation '{name}'.")
        self._shown = list(observations)

    def _init(self):
        if unknown := set(self.config) - ENGINE_SETTINGS - LEVEL_SETTINGS:
            self._fail("init", f"Invalid setting: {sorted(unknown)}")
        if self.level not in LEVELS and not self.level.startswith(DMLAB30):
            self._fail("init", f"Level not found: {self.level}.lua\n stack traceback:\n\t[C]")
        held_out = self.level.startswith(DMLAB30) and self.level.endswith("_test")
        if held_out and self.config.get("allowHoldOutLevels") != "true":
            self._fail("init", "This level must only be used during evaluation.")

    def _fail(self, call, words):
        raise RuntimeError(f'Failed to {call} environment - "{words}"')

    def reset(self, episode=-1, seed=None):
        assert type(episode) is int
        if seed is not None and type(seed) is not int:
            raise ValueError(f"'seed' must be int or None, was '{type(seed).__name__}'.")
        assert seed is None or 0 <= seed < 2**31
        if self._status == "closed":
            self._fail("start", "It is closed.")
        self.calls.append(("reset", episode, seed))
        self._episode = episode if episode >= 0 else self._episode
        seed = int(np.random.default_rng().integers(2**31)) if seed is None else seed
        self._seeds = [seed, self._episode, int(self.config["mixerSeed"])]
        self._compile("_".join(map(str, (self.level.replace("/", "_"), *self._seeds))))
        self._episode += 1
        self._frames, self._status = 0, "initialized"
        return True

    def _compile(self, key):
        with tempfile.TemporaryDirectory() as folder:
            pk3 = pathlib.Path(folder, "map.pk3")
            if self.level_cache is not None and self.level_cache.fetch(key, str(pk3)):
                assert pk3.read_text() == key
                return
            self.compiled += 1
            pk3.write_text(key)
            if self.level_cache is not None:
                self.level_cache.write(key, str(pk3))

    def is_running(self):
        return self._status in ("initialized", "running")

    def num_steps(self):
        return self._frames

    def fps(self):
        return 60

    def step(self, action, num_steps=1):
        if not isinstance(action, np.ndarray):
            raise TypeError(f"argument 1 must be numpy.ndarray, not {type(action).__name__}")
        if type(num_steps) is not int:
            raise TypeError("an integer is required")
        if not self.is_running():
            raise RuntimeError("Environment in wrong status to advance.")
        if action.shape != (7,):
            raise ValueError("action must have shape (7)")
        if action.dtype != np.intc:
            raise ValueError("action must have dtype np.intc")
        # Beyond its bounds the real engine does what it likes.
        assert all(low <= value <= high for value, (_, low, high) in zip(action, BOUNDS))  # noqa: B905
        self.calls.append(("step", action.tolist(), num_steps))
        played = min(num_steps, FRAMES - self._frames)
        self._frames += played
        self._status = "running" if self._frames < FRAMES else "terminated"
        return float(action[3]) * played

    def observations(self):
        if not self.is_running():
            raise RuntimeError("Environment in wrong status for call to observations()")
        shape = (int(self.config["height"]), int(self.config["width"]), 3)
        image = np.random.default_rng([*self._seeds, self._frames]).integers(0, 256, shape)
        sentence = SENTENCES[self._seeds[0] % 2] if "language" in self.level else ""
        values = {"RGB_INTERLEAVED": image.astype(np.uint8), "INSTR": sentence}
        return {name: values[name] for name in self._shown}

    def events(self):
        if self._status not in ("initialized", "running", "terminated"):
            raise RuntimeError("Environment in wrong status for call to events()")
        return []

    def observation_spec(self):
        height, width = int(self.config["height"]), int(self.config["width"])
        return [
            {"name": "RGB_INTERLEAVED", "dtype": np.uint8, "shape": (height, width, 3)},
            {"name": "INSTR", "dtype": str, "shape": ()},
        ]

    def action_spec(self):
        return [{"name": name, "min": low, "max": high} for name, low, high in BOUNDS]

    def close(self):
        was_open, self._status = self._status != "closed", "closed"
        return was_open
