"""What an actor hands over: consecutive steps of its environments, or what went wrong."""

import dataclasses
import traceback
from collections.abc import Sequence

import cloudpickle
import numpy as np

Arrays = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Chunk:
    """Steps of the environments of one actor.

    Args:
        steps: `[T, N, *shape]` by key, as of `Rollout`.
        incarnation: Of the actor's environments; their streams are `incarnation .. + N - 1`.
        number: Counts the chunks of an incarnation from 0.
        version: Number of updates behind the parameters that acted.
        restarts: How often environments of the incarnation were restarted so far.
        printed: What the actor and its environments have printed meanwhile.
    """

    steps: Arrays
    incarnation: int
    number: int
    version: int
    restarts: int = 0
    printed: tuple[str, ...] = ()

    @property
    def streams(self) -> tuple[int, ...]:
        """Ids that no other environments of the run ever have."""
        count = self.steps["is_first"].shape[1]
        return tuple(range(self.incarnation, self.incarnation + count))

    @property
    def nbytes(self) -> int:
        """Bytes of the steps."""
        return sum(value.nbytes for value in self.steps.values())


@dataclasses.dataclass(frozen=True)
class Started:
    """An actor is ready.

    Args:
        incarnation: Of its environments; the one before if they go on.
        envs: Number of environments.
        lost: Chunks that were made since the last one that is known and are kept no more.
        backend: How the environments step, and why so.
    """

    incarnation: int
    envs: int
    lost: int
    backend: str


@dataclasses.dataclass(frozen=True)
class Failure:
    """What an actor has raised, by cloudpickle, so that its class need not be known here.

    Args:
        pickled: The exception; empty if it cannot be pickled.
        text: Its class and message.
        trace: Its traceback.
        printed: As of `Chunk`.
    """

    pickled: bytes
    text: str
    trace: str
    printed: tuple[str, ...] = ()

    @classmethod
    def of(cls, error: Exception, printed: Sequence[str] = ()) -> "Failure":
        """Keeps an exception."""
        try:
            pickled = cloudpickle.dumps(error)
            cloudpickle.loads(pickled)  # Some come back by their message alone, and cannot.
        except Exception:
            pickled = b""
        text = f"{type(error).__name__}: {error}"
        return cls(pickled, text, "".join(traceback.format_exception(error)), tuple(printed))

    def error(self, who: str) -> Exception:
        """The exception, or one that says what it was, and who has raised it."""
        try:
            if self.pickled:
                return cloudpickle.loads(self.pickled)
        except Exception:  # Its class is known to the actor alone.
            pass
        return ActorError(f"{who} raised {self.text}\n\nIn its process:\n{self.trace}")


class ActorError(RuntimeError):
    """What an actor has raised, or what became of it."""


def joined(rows: Sequence[Arrays]) -> Arrays:
    """Consecutive steps `[T, N, ...]` of steps `[1, N, ...]`, whose `log/` keys may differ."""
    shapes = {key: value for row in rows for key, value in row.items()}
    # What stands for values that environments did not give.
    blank = {k: np.full_like(x, np.nan if x.dtype.kind == "f" else 0) for k, x in shapes.items()}
    whole = [{**blank, **row} for row in rows]
    return {key: np.concatenate([row[key] for row in whole]) for key in blank}
