"""What replay will need, beside what the machine has, before a run starts."""

import dataclasses
import functools
from pathlib import Path
from typing import Any

from reverie.disk import free_space
from reverie.machine import available_ram
from reverie.replay.chunk import Layout

INDEX = 60
"""Bytes per step that tell where sequences start: what a mixture of selectors takes."""

SHARE = 0.75
"""Of the memory that is available, what `choose_budget` gives to steps; training needs some too."""

MODEL = "choose a smaller model, such as --configs size12m or size1m"


class BudgetError(ValueError):
    """Replay would need more memory or disk than there is."""


@dataclasses.dataclass(frozen=True)
class Budget:
    """What a replay of a number of steps needs. Bytes, and GB are 1e9 of them.

    Attributes:
        steps: Steps that it will hold at most.
        step: Bytes per step.
        ram: Bytes of memory.
        ram_available: Bytes that the machine, or the container, has left.
        disk: Bytes of files, before compression.
        disk_available: Bytes that the disk has left, with those that replay already takes.
        bound: Bytes of memory that steps on disk may take; None if the steps live in RAM.
        folder: Where the files are.
        compress: Whether images are compressed in the files; nobody knows how small they get.
        held_out: Bytes of memory among `ram` for evaluation episodes.
        latents: Bytes per step among `step` that are latents of the model.
        images: Bytes per step among `step` that are images.
    """

    steps: int
    step: float
    ram: float
    ram_available: float
    disk: float
    disk_available: float
    bound: float | None
    folder: Path
    compress: bool = False
    held_out: float = 0.0
    latents: float = 0.0
    images: float = 0.0

    def __str__(self) -> str:
        kind = "in RAM" if self.bound is None else "on disk"
        compression = " before compression" if self.compress else ""
        others = f", {_gb(self.held_out)} of it for evaluations" if self.held_out else ""
        return (
            f"Replay {kind}: {self.steps:,} steps of {self.step / 1e3:.1f} kB{self._mostly} take "
            f"{_gb(self.ram)} of RAM{others} ({_gb(self.ram_available)} free), "
            f"{_gb(self.disk)} of disk{compression} ({_gb(self.disk_available)} free)."
        )

    @property
    def _mostly(self) -> str:
        """What most of a step is, where that is no observation."""
        large = self.latents > 0.5 * self.step
        return f" ({self.latents / 1e3:.1f} kB latents)" if large else ""

    @property
    def fits(self) -> int:
        """About so many steps would fit."""
        share = self.disk_available / self.disk if self._too_little_disk else 1.0
        if self._too_little_ram and self.bound is None:
            left = max(0.0, self.ram_available - self.held_out)
            share = min(share, left / (self.ram - self.held_out))
        return int(self.steps * share)

    @property
    def problem(self) -> str:
        """What does not fit, and what to change; empty if all does."""
        if self._too_little_disk and (self.bound is not None or not self._too_little_ram):
            other = f"free space under {self.folder} or choose a logdir on another disk"
            compress = "compress images with replay.compress lz4"
            return f"{self} It does not fit on the disk. {self._advice(other, compress)}"
        if self._too_little_ram and self.bound is not None:
            eval_size = " or replay.eval_size" if self.held_out else ""
            return (
                f"Replay may use {_gb(self.ram)} of RAM, but only {_gb(self.ram_available)} "
                f"are available. Lower replay.ram_gb{eval_size}, or stop other programs."
            )
        if self._too_little_ram:
            other = ["lower replay.eval_size"] if self.held_out else []
            other.append("keep steps on disk with replay.storage disk")
            return f"{self} It does not fit in RAM. {self._advice(*other)}"
        return ""

    @property
    def _too_little_ram(self) -> bool:
        return self.ram > self.ram_available

    @property
    def _too_little_disk(self) -> bool:
        return self.disk > self.disk_available and not self.compress

    def _advice(self, *others: str) -> str:
        """What to change, first what most of a step is made of, and nothing about what is not."""
        parts = [MODEL] if self._mostly else []
        parts.append(f"lower replay.size to {self.fits:,} steps or fewer")
        parts += [part for part in others if self.images or "images" not in part]
        if self.images:
            parts.append("make images smaller with the size option of the suite")
        first, *rest = parts
        last = f", or {rest.pop()}" if rest else ""
        return f"{first[0].upper()}{first[1:]}{''.join(f', {part}' for part in rest)}{last}."


def choose_budget(
    layout: Layout, steps: int, folder: Path, kind: str, bound: float, **others: Any
) -> Budget:
    """Decides where steps live, and tells what that needs, as `estimate_budget` does.

    Args:
        kind: `ram`, `disk`, or `auto`, which is `ram` if all steps fit there, else `disk`.
        bound: Bytes of memory that steps on disk may take; with `auto` less if need be.
    """
    estimate = functools.partial(estimate_budget, layout, steps, folder, **others)
    in_ram = estimate()
    share = SHARE * in_ram.ram_available
    if kind == "ram" or (kind == "auto" and in_ram.ram <= share):
        return in_ram
    bound = min(bound, max(0.0, share - in_ram.held_out)) if kind == "auto" else bound
    return estimate(bound)


def estimate_budget(
    layout: Layout,
    steps: int,
    folder: Path,
    bound: float | None = None,
    *,
    compress: bool = False,
    held_out: int = 0,
    ram_shares: int = 1,
    disk_shares: int = 1,
) -> Budget:
    """What a replay needs and what there is.

    Args:
        layout: Keys, dtypes and shapes of a step.
        steps: Steps that it will hold at most.
        folder: Where it is saved; need not exist.
        bound: Bytes of memory that steps on disk may take; None if they live in RAM.
        compress: Whether images are compressed in the files.
        held_out: Steps of evaluation episodes that are kept in RAM besides.
        ram_shares: Replays that share the memory.
        disk_shares: Replays that share the disk.
    """
    files, latents = layout.nbytes(), layout.nbytes(keys=layout.latents)
    needed, index = steps * (files + INDEX), steps * INDEX
    others = held_out * (files + INDEX)
    disk = steps * files
    if bound is not None:
        # Latents beyond the memory are in a file of their own besides the saved ones.
        disk += max(0.0, steps * latents - bound / 2)
        needed = min(steps * files, bound) + index
    return Budget(
        steps=steps,
        step=files + INDEX,
        ram=needed + others,
        ram_available=available_ram() / ram_shares,
        disk=disk,
        disk_available=available_disk(folder, disk_shares),
        bound=bound,
        folder=folder,
        compress=compress,
        held_out=others,
        latents=latents,
        images=layout.nbytes(keys=layout.images),
    )


def available_disk(folder: Path, shares: int = 1) -> float:
    """Bytes that files in a folder may take, with those that it holds already.

    As many folders as there are shares share what is free.
    """
    # Shards have folders of their own in it.
    own = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return free_space(folder) / shares + own


def _gb(size: float) -> str:
    return f"{size / 1e9:,.1f} GB" if size >= 1e8 else f"{size / 1e6:,.1f} MB"
