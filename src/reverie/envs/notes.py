"""What there is to know about an environment without a step in it."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

import gymnasium
from gymnasium.wrappers import NormalizeObservation, NormalizeReward

from reverie.envs.flat.converter import Converter
from reverie.spaces import Space

SMALLEST_PICTURE = 48
"""Sides from which an array of numbers looks like an image: the smallest that encoders take."""


@dataclasses.dataclass(frozen=True)
class Finding:
    """One thing to know about an environment.

    Args:
        level: `error` stops training, `warning` makes it worse or not repeatable, `note` is good
            to know.
        problem: What is wrong, with names and values.
        mend: What to do about it.
    """

    level: Literal["error", "warning", "note"]
    problem: str
    mend: str = ""

    def __str__(self) -> str:
        return f"{self.level}: {self.problem}" + (f" -> {self.mend}" if self.mend else "")


def notes(converter: Converter) -> Iterator[Finding]:
    """What the spaces of an environment tell, without a step in it."""
    for key in converter.text:
        yield Finding(
            "warning",
            f"The observation {key!r} is text, so it is left out.",
            "If the task cannot be learned without it, turn it into numbers.",
        )
    for note in converter.notes:
        yield Finding("warning", note, "Give it another shape or other bounds if it is no image.")
    for key, space in converter.spaces[0].items():
        sides = sorted(space.shape)
        like_an_image = len(sides) in (2, 3, 4) and sides[-2] >= SMALLEST_PICTURE
        if space.kind == "continuous" and like_an_image:
            yield Finding(
                "warning",
                f"The observation {key!r} of shape {space.shape} is learned as {space.size} "
                "numbers, not as an image.",
                "Images are uint8 in 0..255 of height x width x channels, or close to that.",
            )
    for key, used in converter.unbounded.items():
        yield Finding(
            "warning",
            f"The action {key!r} has no finite bounds, so that only {used} of it is used.",
            "Declare the bounds that actions need.",
        )


def of_wrappers(env: gymnasium.Env) -> Iterator[Finding]:
    """What the wrappers of an environment do that they should not."""
    while isinstance(env, gymnasium.Wrapper):
        if isinstance(env, NormalizeObservation | NormalizeReward):
            yield Finding(
                "warning",
                f"{type(env).__name__} keeps statistics that no checkpoint has: in evaluations and "
                "after a resume they begin anew.",
                "Leave it out: the agent scales observations and returns by itself.",
            )
        env = env.env


def resize_note(obs: Mapping[str, Space], size: Sequence[int], suite: str) -> str:
    """Says that images are resized to a height and width, because the encoder takes them so."""
    sizes = {f"{h}x{w}" for h, w, _ in (s.shape for s in obs.values() if s.kind == "image")}
    return (
        f"Images of {' and '.join(sorted(sizes))} pixels are resized to {size[0]}x{size[1]}, "
        f"which the encoder takes; env.{suite}.size sets another size."
    )
