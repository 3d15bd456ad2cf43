"""A dream as a tree of frames: going back is taking an earlier one, and so is branching."""

import dataclasses
from collections.abc import Mapping
from typing import Literal

import jax
import numpy as np

from reverie.spaces import Space
from reverie.view.dream.model import Model
from reverie.view.dream.reality import Reality
from reverie.view.dream.recording import Recording
from reverie.view.dream.said import Arrays, Chance, Said, Seen
from reverie.view.dream.truth import DreamError, Step, equal
from reverie.world.rssm import State

Driver = Literal["you", "policy", "recording"]

LIMIT = 256 * 2**20
"""Bytes of all frames of a dream."""


@dataclasses.dataclass(frozen=True)
class Known:
    """The truth beside a frame.

    Args:
        step: What happened.
        state: What the model makes of it, having seen all up to there.
        said: What the heads say of that state.
        seen: How that compares with what was expected and dreamt.
    """

    step: Step
    state: State
    said: Said
    seen: Seen


@dataclasses.dataclass(frozen=True)
class Frame:
    """One step of a dream; never changes.

    Args:
        number: Its place in `Dream.frames`.
        parent: That of the frame before it; None for the first one.
        step: Frames before it.
        horizon: Steps since the last one that was observed; 0 if this one was.
        action: That led here; None where nobody knows.
        driver: Who chose it.
        state: The latent state.
        said: What the heads say of it.
        known: The truth, where it is known.
        model_step: Environment steps of the checkpoint that made it.
    """

    number: int
    parent: int | None
    step: int
    horizon: int
    action: Arrays | None
    driver: Driver | Literal[""]
    state: State
    said: Said
    known: Known | None
    model_step: int


class Dream:
    """Frames of one dream, the model that makes them, and the truth beside them.

    Attributes:
        frames: All of them, of all branches, in the order in which they were made.
    """

    def __init__(self, model: Model, truth: Recording | Reality, seed: int = 0):
        self.model, self.truth = model, truth
        self.frames: list[Frame] = []
        self._seed, self._size = seed, 0

    @property
    def room(self) -> int:
        """About how many frames more it may have."""
        each = self._size / max(1, len(self.frames))
        return int((LIMIT - self._size) / each) if each else 0

    def path(self, number: int) -> list[Frame]:
        """A frame and all before it, in their order."""
        found = [self.frame(number)]
        while (parent := found[-1].parent) is not None:
            found.append(self.frames[parent])
        return found[::-1]

    def frame(self, number: int) -> Frame:
        """A frame by its number.

        Raises:
            DreamError: If there is none.
        """
        if not 0 <= number < len(self.frames):
            raise DreamError(
                f"Frame {number} does not exist: this dream has {len(self.frames)} frames."
            )
        return self.frames[number]

    def begin(self, happened: Step, state: State, action: Arrays) -> Frame:
        """Makes the first frame: an observation after a state and an action."""
        state, said, seen = self.model.observe(state, action, happened, Chance(self._seed, 0))
        return self._add(None, 0, None, "", state, said, Known(happened, state, said, seen))

    def choose(self, at: int, driver: Driver, likely: bool = True) -> Arrays:
        """The action of the policy at a frame, its most likely one or drawn, or of the recording.

        Raises:
            DreamError: If the recording knows none.
        """
        frame = self.frame(at)
        if driver == "policy":
            return frame.said.likely if likely else frame.said.sampled
        if not isinstance(self.truth, Recording) or frame.known is None:
            raise DreamError(
                "The recording is of no use here: other actions were taken than in it. Go back "
                "to a frame where the truth is known, or drive yourself."
            )
        if (action := self.truth.action(frame.step)) is None:
            raise DreamError("The recording ends here. Drive on yourself, or let the policy drive.")
        return action

    def step(
        self, at: int, action: Mapping[str, np.ndarray], driver: Driver, awake: bool = False
    ) -> Frame:
        """Goes on from a frame; what was made before in the same way is not made again.

        Args:
            at: Number of the frame.
            action: By key, without batch axes; `driver` chose it.
            awake: Whether the model sees what happens, where that is known.

        Raises:
            DreamError: If the action does not fit its space, there is nothing to see, or the dream
                has reached its size.
        """
        before = self.frame(at)
        given = {k: checked(k, action.get(k), s) for k, s in self.model.agent.act_space.items()}
        if again := self._again(before, given, awake):
            return again
        if self._size > LIMIT:
            raise DreamError(
                f"This dream has {len(self.frames)} frames, which fill its {LIMIT >> 20} MB. Begin "
                "a new one; what you want to keep of this one can be saved as a film."
            )
        if awake and before.known is None:
            raise DreamError("There is nothing to see here: only the dream is known.")
        happened = self._after(before, given)
        if awake and happened is None:
            raise DreamError(
                "There is nothing more to see: the episode or its recording has ended. Dream on, "
                "or begin anew."
            )
        chance = Chance(self._seed, before.step + 1)
        if awake and before.known and happened:
            # Also from a frame that was dreamt: the model then wakes up.
            state, said, seen = self.model.observe(before.known.state, given, happened, chance)
            known = Known(happened, state, said, seen)
            return self._add(before, 0, given, driver, state, said, known)
        state, said = self.model.imagine(before.state, given, chance)
        known = None
        if before.known and happened:
            last = before.known.state
            now, told, seen = self.model.observe(last, given, happened, chance, dreamt=state)
            # The truth is shown, not what the model makes of it.
            known = Known(happened, now, told._replace(obs={}), seen)
        return self._add(before, before.horizon + 1, given, driver, state, said, known)

    def _again(self, before: Frame, action: Arrays, awake: bool) -> Frame | None:
        """The frame that the same action has led to from the same frame."""
        for frame in self.frames[before.number + 1 :]:
            same = frame.parent == before.number and (frame.horizon == 0) == awake
            if same and frame.model_step == self.model.step and equal(frame.action or {}, action):
                return frame
        return None

    def _after(self, before: Frame, action: Arrays) -> Step | None:
        if before.known is None:
            return None
        history = [frame.action or {} for frame in self.path(before.number)[1:]]
        return self.truth.after(history, action, before.known.step)

    def _add(
        self,
        before: Frame | None,
        horizon: int,
        action: Arrays | None,
        driver: Driver | Literal[""],
        state: State,
        said: Said,
        known: Known | None,
    ) -> Frame:
        step, parent = (before.step + 1, before.number) if before else (0, None)
        place = len(self.frames), parent, step, horizon
        frame = Frame(*place, action, driver, state, said, known, self.model.step)
        self.frames.append(frame)
        self._size += _size(frame)
        return frame


def dream_of_recording(model: Model, recording: Recording, seed: int = 0) -> Dream:
    """A dream that begins with the steps of replay that are observed."""
    dream = Dream(model, recording, seed)
    frame = dream.begin(recording.step(0), *recording.before(model.initial()))
    while len(dream.frames) < recording.observed:
        action = dream.choose(frame.number, "recording")
        frame = dream.step(frame.number, action, "recording", awake=True)
    return dream


def dream_of_reality(model: Model, reality: Reality, observed: int, seed: int = 0) -> Dream:
    """A dream that begins with an episode of which the model sees the first steps."""
    dream = Dream(model, reality, seed)
    frame = dream.begin(reality.reset(), model.initial(), model.idle())
    while len(dream.frames) < observed and not (frame.known and frame.known.step.is_last):
        frame = dream.step(frame.number, frame.said.likely, "policy", awake=True)
    return dream


def checked(key: str, value: object, space: Space) -> np.ndarray:
    """An action of one key as the model takes it.

    Raises:
        DreamError: If it does not fit its space.
    """
    discrete = space.kind == "discrete"
    what = f"class indices below {space.classes}" if discrete else "numbers from -1 to 1"
    try:
        array = np.asarray(value, np.int64 if discrete else np.float32).reshape(space.shape)
    except (TypeError, ValueError, OverflowError):
        array = None
    if array is not None and discrete:
        classes = np.reshape(space.classes, space.shape)
        array = array if ((array >= 0) & (array < classes)).all() else None
    elif array is not None:
        array = np.clip(array, -1, 1) if np.isfinite(array).all() else None
    if array is None:
        raise DreamError(
            f"The action {key!r} is {value!r:.80}: expected {what}, of shape {space.shape}."
        )
    return array.astype(space.dtype)


def _size(frame: Frame) -> int:
    """Bytes of the arrays of a frame."""
    known = frame.known and (frame.known.step, frame.known.state, frame.known.said)
    found = jax.tree.leaves((frame.state, frame.said, frame.action, known))
    arrays = sum(x.nbytes for x in found if isinstance(x, np.ndarray))
    return arrays + sum(len(x) for x in found if isinstance(x, bytes))
