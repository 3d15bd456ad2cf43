"""One dream for one page: requests in, what to show out."""

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from gymnasium import spaces as gs

from reverie.envs.flat.leaves import leaves, used_range
from reverie.run.load import open_saved
from reverie.spaces import Space
from reverie.view.content import SHOWN, number, numbers, png
from reverie.view.dream.film import film
from reverie.view.dream.model import load_model, newest_step
from reverie.view.dream.reality import open_reality
from reverie.view.dream.recording import Recording, episodes
from reverie.view.dream.tree import Dream, Frame, dream_of_reality, dream_of_recording
from reverie.view.dream.truth import DreamError

MOST_OBSERVED = 64
"""Steps that a dream may begin with."""

Answer = tuple[dict[str, Any], list[bytes]]


class Session:
    """The model of a run, and the dream that it is in.

    Args:
        root: Run folder; only read.
        trust: Whether the user trusts whoever made it, so that it may name code.

    Raises:
        ConfigError: If there is no run in the folder, or it names code of somebody else.
        CheckpointError: If it has no checkpoint, or one that does not fit.
    """

    def __init__(self, root: pathlib.Path, trust: bool = False):
        self._run = open_saved(root, trust)
        self._model = load_model(self._run)
        # While the user chooses where to begin.
        self._model.prepare()
        self._dream: Dream | None = None

    def about(self) -> dict[str, Any]:
        """What the page needs to know before a dream begins."""
        obs = self._model.agent.obs_space
        return {
            "task": self._run.config.task,
            "step": self._model.step,
            "actions": _controls(self._run.converter.native_act),
            "observations": [
                {"key": k, "kind": x.kind, "size": x.size, "shown": min(x.size, SHOWN)}
                for k, x in obs.items()
            ],
            "decoded": self._model.decodes,
            **self._episodes(),
        }

    def answer(self, op: str = "", **words: Any) -> Answer:
        """Does what the page asks for, with arguments as the methods below take them.

        Raises:
            DreamError: If that is not possible.
        """
        known = {
            "episodes": lambda: (self._episodes(), []),
            "look": self._look,
            "replay": self._replay,
            "reset": self._reset,
            "step": self._step,
            "newest": self._newest,
            "reload": self._reload,
            "film": self._film,
        }
        if op not in known:
            raise DreamError(f"The request {op!r} is unknown: expected one of {sorted(known)}.")
        return known[op](**words)

    def close(self) -> None:
        """Closes the environment beside the dream."""
        if self._dream:
            self._dream.truth.close()
        self._dream = None

    def _episodes(self) -> dict[str, Any]:
        found = episodes(self._run.folder)
        return {"episodes": [dataclasses.asdict(x) for x in found]}

    def _look(self, source: str, serial: int, row: int) -> Answer:
        """The pictures of a recorded step."""
        agent = self._model.agent
        obs = Recording(self._run.folder, source, agent, serial, row, 1).step(0).obs
        images = [key for key, space in agent.obs_space.items() if space.kind == "image"]
        return {"pictures": images}, [png(obs[key]) for key in images]

    def _replay(self, source: str, serial: int, row: int, observed: int, seed: int = 0) -> Answer:
        """Begins a dream with recorded steps."""
        steps = _whole("observed", observed, 1, MOST_OBSERVED)
        agent = self._model.agent
        recording = Recording(self._run.folder, source, agent, serial, row, steps)
        return self._begun(dream_of_recording(self._model, recording, _seed(seed)))

    def _reset(self, observed: int, episode: int = 0, seed: int = 0) -> Answer:
        """Begins a dream with the first steps of an episode of the environment."""
        steps = _whole("observed", observed, 1, MOST_OBSERVED)
        world = open_reality(self._run, _seed(episode))
        try:
            content, blobs = self._begun(dream_of_reality(self._model, world, steps, _seed(seed)))
        except BaseException:
            world.close()
            raise
        return {**content, "names": world.action_names}, blobs

    def _begun(self, dream: Dream) -> Answer:
        self._model.prepare(wait=True)
        self.close()
        self._dream = dream
        return self._shown(*dream.frames)

    def _step(
        self,
        at: int,
        driver: str,
        action: Mapping[str, Any] | None = None,
        awake: bool = False,
        likely: bool = True,
    ) -> Answer:
        """Goes on from a frame."""
        dream = self._begun_one()
        if driver in ("policy", "recording"):
            action = dream.choose(at, driver, likely)
        elif driver != "you" or not isinstance(action, Mapping):
            raise DreamError(f"The driver is {driver!r} and the action {action!r}.")
        return self._shown(dream.step(at, action, driver, awake))

    def _newest(self) -> Answer:
        """Tells the newest checkpoint in the folder."""
        return {"newest": newest_step(self._run.config)}, []

    def _reload(self) -> Answer:
        """Goes on with the newest checkpoint."""
        self._model.reload(self._run.folder.root)
        return {"step": self._model.step, **self._episodes()}, []

    def _film(self, at: int, format: str = "auto", fps: float = 10) -> Answer:
        """A film of a frame and all before it."""
        if format not in ("auto", "mp4", "gif") or not 0 < fps <= 120:
            raise DreamError(
                f"The film is to be {format!r} with {fps!r} frames per second: expected mp4 or "
                "gif, with up to 120."
            )
        name, content = film(self._begun_one().path(at), format, fps)
        return {"name": f"dream-{self._run.folder.root.name}-{self._model.step}{name}"}, [content]

    def _begun_one(self) -> Dream:
        if self._dream is None:
            raise DreamError("No dream has begun: choose where it starts.")
        return self._dream

    def _shown(self, *frames: Frame) -> Answer:
        dream, blobs, shown = self._begun_one(), [], []
        for frame in frames:
            content, pictures = _show(frame, self._model.agent.obs_space)
            shown.append(content)
            blobs += pictures
        about = {"truth": dream.truth.name, "note": dream.truth.note}
        return {"frames": shown, "room": dream.room, **about}, blobs


def _show(frame: Frame, obs_space: Mapping[str, Space]) -> Answer:
    """What a page shows of a frame, and its pictures."""
    said, known = frame.said, frame.known
    images = [key for key, space in obs_space.items() if space.kind == "image"]
    vectors = [key for key in obs_space if key not in images]
    pictures = [("dream", key, png(said.obs[key])) for key in images if key in said.obs]
    if known:
        pictures += [("truth", key, png(known.step.obs[key])) for key in images]
        if known.step.picture is not None:
            pictures.append(("truth", "", known.step.picture))
    content = {
        "number": frame.number,
        "parent": frame.parent,
        "step": frame.step,
        "horizon": frame.horizon,
        "driver": frame.driver,
        "action": frame.action and {k: numbers(x) for k, x in frame.action.items()},
        "reward": number(said.reward),
        "con": number(said.con),
        "value": number(said.value),
        "entropy": number(said.entropy),
        "policy": {key: numbers(x) for key, x in said.policy.items()},
        "valid": {key: numbers(x) for key, x in said.valid.items()},
        "dream": {key: numbers(said.obs[key]) for key in vectors if key in said.obs},
        "pictures": [picture[:2] for picture in pictures],
        "known": None,
        "model": frame.model_step,
    }
    if known:
        step, seen = known.step, known.seen
        errors = seen.dream_error if frame.horizon else seen.seen_error
        content["known"] = {
            "reward": number(step.reward),
            "last": step.is_last,
            "terminal": step.is_terminal,
            "value": number(known.said.value),
            "surprise": number(seen.surprise),
            "error": number(sum(errors.values())),
            "seen_error": number(sum(seen.seen_error.values())),
            "truth": {key: numbers(step.obs[key]) for key in vectors},
        }
    return content, [blob for *_, blob in pictures]


def _controls(space: Any) -> list[dict[str, Any]]:
    """What a page needs to make buttons and sliders: one entry per number of an action."""
    controls = []
    for leaf in leaves(space, "action"):
        native = leaf.native
        if isinstance(native, gs.Box) and isinstance(leaf.flat, gs.Box):
            low, high, _ = used_range(native)
            bounds = zip(low.ravel().tolist(), high.ravel().tolist(), strict=True)
            entries = [{"low": a, "high": b} for a, b in bounds]
        elif isinstance(native, gs.Discrete):
            entries = [{"classes": int(native.n), "start": int(native.start)}]
        elif isinstance(native, gs.MultiDiscrete):
            both = zip(native.nvec.ravel().tolist(), native.start.ravel().tolist(), strict=True)
            entries = [{"classes": n, "start": start} for n, start in both]
        else:
            entries = [{"classes": 2, "start": 0}] * int(np.prod(leaf.flat.shape or ()))
        controls.append({"key": leaf.key, "entries": entries})
    return controls


def _whole(name: str, value: Any, least: int, most: int) -> int:
    if isinstance(value, int) and least <= value <= most:
        return value
    raise DreamError(f"{name} is {value!r}: expected a whole number from {least} to {most}.")


def _seed(value: Any) -> int:
    return _whole("The seed", value, 0, 2**31 - 1)
