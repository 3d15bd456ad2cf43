"""Sinks that may be slow or fail, kept away from the training loop."""

import contextlib
import logging
import queue
import threading
import time
from collections.abc import Callable, Mapping

from reverie.track.sinks.base import Sink, Value, compiled

QUEUE = 32
"""Writes and notes that wait for a slow sink; a write may hold videos of some megabytes."""

PATIENCE = 4.0
"""Seconds that `close` waits for all sinks together: a signal has to end the run in time."""

_log = logging.getLogger("reverie.track")

Task = Callable[[Sink], None]


def report_failure(name: str, error: Exception) -> None:
    """Says that a sink is switched off."""
    _log.warning(
        "The output %s failed and is switched off, the run goes on without it: %s: %s",
        name,
        type(error).__name__,
        error,
    )


class Background(Sink):
    """Hands metrics to sinks that each work in a thread of their own.

    The caller never waits: what a sink has no room for is dropped, counted and reported. Finished
    episodes are not handed on, because the next write holds their means.

    Args:
        makers: Makes each sink by its name, in its thread.
        filter: Regular expression searched in metric names: the sinks get the matches only.

    Raises:
        ValueError: `filter` is not a regular expression.
    """

    def __init__(self, makers: Mapping[str, Callable[[], Sink]], filter: str):
        self._filter = compiled(filter)
        self._workers = [_Worker(name, make) for name, make in makers.items()]

    def write(self, step: int, metrics: Mapping[str, Value]) -> None:
        """Hands the metrics that match the filter to every sink that has room for them."""
        chosen = {key: value for key, value in metrics.items() if self._filter.search(key)}
        if chosen:
            self._each(lambda sink: sink.write(step, chosen))

    def note(self, text: str) -> None:
        """Hands a message to every sink."""
        self._each(lambda sink: sink.note(text))

    def close(self) -> None:
        """Waits some seconds until everything is written, and reports what is not."""
        workers, self._workers = self._workers, []
        end = time.monotonic() + PATIENCE
        for worker in workers:
            worker.finish()
        for worker in workers:
            worker.join(max(0.0, end - time.monotonic()))

    def _each(self, task: Task) -> None:
        for worker in self._workers:
            worker.put(task)


class _Worker:
    """One sink in its thread."""

    def __init__(self, name: str, make: Callable[[], Sink]):
        self._name = name
        self._make = make
        self._tasks: queue.SimpleQueue[Task | None] = queue.SimpleQueue()
        self._failed = False
        self._dropped = 0
        # A daemon, so that one that hangs does not keep the process.
        self._thread = threading.Thread(target=self._run, name=f"output-{name}", daemon=True)
        self._thread.start()

    def put(self, task: Task) -> None:
        if self._failed:
            return
        if self._tasks.qsize() < QUEUE:
            self._tasks.put(task)
            return
        self._dropped += 1
        if self._dropped == 1:
            _log.warning("The output %s is too slow: it does not get everything.", self._name)

    def finish(self) -> None:
        self._tasks.put(None)

    def join(self, seconds: float) -> None:
        self._thread.join(seconds)
        if self._thread.is_alive():
            _log.warning("The output %s is not done in time: its last part is lost.", self._name)
        if self._dropped:
            _log.warning("The output %s did not get %d writes.", self._name, self._dropped)

    def _run(self) -> None:
        sink = None
        try:
            sink = self._make()
            while (task := self._tasks.get()) is not None:
                task(sink)
            sink.close()
        except Exception as error:
            self._failed = True
            report_failure(self._name, error)
            with contextlib.suppress(Exception):  # The first error has been reported.
                if sink is not None:
                    sink.close()
