"""Metrics of a run to a place of your own: here a table of scores, and messages on the screen.

python examples/own_sink.py
"""

import csv

import reverie


class ScoreTable:
    """Writes one row per episode into a file of comma-separated values.

    Args:
        path: File to write.
    """

    def __init__(self, path):
        self._file = open(path, "a", newline="")  # noqa: SIM115 Closed by `close`.
        self._table = csv.writer(self._file)

    def write(self, step, metrics):
        """Takes what was logged since the last call, by name; here nothing of it."""

    def episode(self, step, metrics):
        """Takes the numbers of an episode that has just ended."""
        if "episode/score" in metrics:
            self._table.writerow([step, metrics["episode/score"], metrics["episode/length"]])

    def note(self, text):
        """Takes a message for whoever watches the run."""
        print("NOTE", text)

    def close(self):
        """Is called when the run ends."""
        self._file.close()


def main(path="scores.csv", **options):
    """Trains on CartPole; `options` are those of the configuration."""
    options = {"configs": "quickstart", "logger.outputs": ["jsonl"], **options}
    return reverie.train("CartPole-v1", sinks=[ScoreTable(path)], **options)


if __name__ == "__main__":
    main()
