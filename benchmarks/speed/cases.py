"""What is measured: train steps, policy calls, start-up."""

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Literal

from reverie.config.load import load
from reverie.config.schema import Config
from reverie.errors import ConfigError
from reverie.spaces import Space

Section = Literal["train", "policy", "startup"]

SPACES: dict[str, tuple[dict[str, Space], dict[str, Space]]] = {
    "vector": (
        {"vector": Space("continuous", (24,), "float32")},
        {"action": Space("continuous", (6,), "float32")},
    ),
    "image": (
        {"image": Space("image", (64, 64, 3), "uint8")},
        {"action": Space("discrete", (), "int32", (17,))},
    ),
}
"""Observation and action keys of each kind of input: a walking robot's, and a game's."""

TRAIN_ROWS = (("size1m", "vector"), ("size1m", "image"), ("size12m", "image"))
POLICY_ROWS = (("size1m", "vector"), ("size1m", "image"))
POLICY_ENVS = (1, 16)


def startup_words(size: str) -> list[str]:
    """Configuration of the run whose start-up is timed."""
    return ["--configs", "crafter", size]


class BenchError(RuntimeError):
    """A measurement that cannot be made, with the reason.

    Args:
        message: What to tell the user.
        trace: What the failed process said last; shown below the message.
    """

    def __init__(self, message: str, trace: str = ""):
        super().__init__(message)
        self.trace = trace


@dataclasses.dataclass(frozen=True)
class TrainCase:
    """One row of train steps.

    Args:
        size: Block of the model size.
        obs: Key of `SPACES`.
        updates: Timed updates, after the warm-up.
        words: More words of the configuration, laid over the size.
    """

    size: str
    obs: str
    updates: int
    words: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """What the row is called."""
        return f"{self.size} {self.obs}"

    def config(self) -> Config:
        """The configuration, checked."""
        return load(["--configs", self.size, *self.words])


@dataclasses.dataclass(frozen=True)
class PolicyCase:
    """One row of policy calls, in a process that is bound to one core.

    Args:
        size: Block of the model size.
        obs: Key of `SPACES`.
        envs: Environments per call.
        calls: Timed calls, after the warm-up.
        words: More words of the configuration, laid over the size.
    """

    size: str
    obs: str
    envs: int
    calls: int = 200
    words: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """What the row is called."""
        return f"{self.size} {self.obs}, {self.envs} env{'s' if self.envs > 1 else ''}"

    def config(self) -> Config:
        """The configuration, checked."""
        return load(["--configs", self.size, *self.words])


@dataclasses.dataclass(frozen=True)
class Request:
    """Which rows to measure.

    Args:
        sizes: Blocks of model sizes; empty for those of the standard rows, or `size1m` if `obs` is
            given.
        obs: Keys of `SPACES`; empty for those of the standard rows, or all if `sizes` is given.
        sections: What to measure. Empty means train steps, and policy calls too if neither sizes
            nor observations are given.
        updates: Timed updates of each row.
        words: Words of the configuration for all rows.

    Raises:
        BenchError: If an observation or the number of updates makes no sense.
        ConfigError: If a configuration is invalid.
    """

    sizes: Sequence[str] = ()
    obs: Sequence[str] = ()
    sections: Sequence[Section] = ()
    updates: int = 20
    words: tuple[str, ...] = ()

    def __post_init__(self):
        if unknown := [name for name in self.obs if name not in SPACES]:
            raise BenchError(f"--obs is {', '.join(unknown)}; expected {' or '.join(SPACES)}.")
        if self.updates < 1:
            raise BenchError(f"--updates is {self.updates}; expected a number of at least 1.")
        for case in (*self.train_cases(), *self.policy_cases()):
            if case.config().random_agent:
                raise ConfigError("random_agent = true learns nothing that could be measured.")
        for size in self.startup_sizes():
            load([*startup_words(size), *self.words])

    def measures(self, section: Section) -> bool:
        """Whether a section is asked for."""
        if self.sections:
            return section in self.sections
        return section == "train" or (section == "policy" and not (self.sizes or self.obs))

    def train_cases(self) -> list[TrainCase]:
        """Rows of train steps."""
        if not self.measures("train"):
            return []
        rows = self._rows(TRAIN_ROWS)
        return [TrainCase(size, obs, self.updates, self.words) for size, obs in rows]

    def policy_cases(self) -> list[PolicyCase]:
        """Rows of policy calls."""
        if not self.measures("policy"):
            return []
        rows = itertools.product(self._rows(POLICY_ROWS), POLICY_ENVS)
        return [PolicyCase(size, obs, envs, words=self.words) for (size, obs), envs in rows]

    def startup_sizes(self) -> list[str]:
        """Model sizes whose start-up is timed."""
        return list(self.sizes or ("size1m",)) if self.measures("startup") else []

    def _rows(self, standard: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
        if not (self.sizes or self.obs):
            return list(standard)
        return list(itertools.product(self.sizes or ("size1m",), self.obs or SPACES))
