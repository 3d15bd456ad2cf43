"""One update after the other: sample, train, write back."""

from reverie.learner import Learner
from reverie.replay import Stream
from reverie.run.debug import check_numbers
from reverie.run.driver import Waiting


class Trainer:
    """Feeds a learner from a replay stream and returns fresh latents to replay.

    What an update gives back is handed to replay when the next one has been issued, so that the
    device always has work. The hand-over happens in the stream's thread, which is the one that
    waits for the values.

    Args:
        learner: Runs the updates.
        stream: Delivers batches of `context` + T steps.
        context: Number of context steps in front of every sequence, which are not trained.
        debug: Whether to check every batch for NaN before it is trained on.
        priorities: Whether model losses become priorities of replay.
    """

    def __init__(
        self,
        learner: Learner,
        stream: Stream,
        context: int,
        debug: bool = False,
        *,
        priorities: bool = True,
    ):
        self._learner = learner
        self._stream = stream
        self._context = context
        self._debug = debug
        self._priorities = priorities
        self._compiled = False

    def wait(self, waiting: Waiting) -> None:
        """Returns when the program of the update is compiled.

        Args:
            waiting: Entered meanwhile. What it raises loses nothing.
        """
        if not self._compiled:
            with waiting():
                self._learner.wait("train", self._stream.example())
            self._compiled = True

    def update(self) -> None:
        """Issues one update; returns without waiting for it."""
        sample = self._stream.next()
        if self._debug:
            check_numbers(sample.batch, f"batch of update {self._learner.updates + 1}")
        outputs = self._learner.train(sample.batch)
        priority = outputs.priority if self._priorities else None
        self._stream.postpone(sample.ids[:, self._context :], outputs.latents, priority)
