"""A compiled function for one kind of batch, made in the background."""

import concurrent.futures
from collections.abc import Callable
from typing import Any

import numpy as np

Batch = dict[str, np.ndarray]


class BackgroundProgram:
    """Compiles in a thread of its own, once for all batches of the same shapes.

    Args:
        compile: Makes the program for batches of the shapes and types of the one given.
    """

    def __init__(self, compile: Callable[[Batch], Any]):
        self._compile = compile
        self._thread = concurrent.futures.ThreadPoolExecutor(1, "compile")
        self._facts: dict[str, tuple[tuple[int, ...], np.dtype]] = {}
        self._program: concurrent.futures.Future[Any] | None = None

    def prepare(self, batch: Batch) -> None:
        """Starts to compile for batches like this one, whose values do not matter."""
        self._facts = _facts(batch)
        self._program = self._thread.submit(self._compile, batch)

    def get(self, batch: Batch) -> Any:
        """The program for a batch, waited for.

        Raises:
            Exception: Whatever the compilation has raised.
        """
        if self._program is None or self._facts != _facts(batch):
            self.prepare(batch)
        assert self._program
        return self._program.result()


def _facts(batch: Batch) -> dict[str, tuple[tuple[int, ...], np.dtype]]:
    return {key: (array.shape, array.dtype) for key, array in batch.items()}
