"""A program for arrays of certain shapes, made ahead of its use."""

import concurrent.futures
from collections.abc import Hashable
from typing import Any

from reverie.learner.compiler import Compiler
from reverie.learner.programs import Batch, Kind


class PreparedProgram:
    """Is compiled once for all batches of the same shapes, ahead of time if asked.

    Args:
        kind: Which program.
        compiler: Compiles it.
    """

    def __init__(self, kind: Kind, compiler: Compiler):
        self._kind: Kind = kind
        self._compiler = compiler
        self._compiled: dict[Hashable, concurrent.futures.Future[Any]] = {}

    def prepare(self, batch: Batch) -> None:
        """Starts to compile for batches like this one, whose values do not matter."""
        if _shapes(batch) not in self._compiled:
            self._compiled[_shapes(batch)] = self._compiler.submit(self._kind, batch)

    def ready(self, batch: Batch) -> bool:
        """Whether the program for a batch is there, or will raise; starts to compile it if not."""
        self.prepare(batch)
        return self._compiled[_shapes(batch)].done()

    def get(self, batch: Batch) -> Any:
        """The program for a batch, waited for; compiled now where it was not prepared.

        Raises:
            Exception: Whatever the compilation has raised.
        """
        shapes = _shapes(batch)
        if shapes not in self._compiled:
            self._compiled[shapes] = self._compiler.submit(self._kind, batch, apart=False)
        return self._compiled[shapes].result()


def _shapes(batch: Batch) -> Hashable:
    return frozenset((key, array.shape, array.dtype) for key, array in batch.items())
