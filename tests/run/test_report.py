"""Reports: numbers, videos and plots."""

import types

import numpy as np

from reverie.run.report import report
from reverie.track import Logger, Sink


class Memory(Sink):
    """Keeps what it is told."""

    def __init__(self):
        self.metrics = {}

    def write(self, step, metrics):
        self.metrics = dict(metrics)


class Model:
    """Reports the number of the batch, a video and a vector."""

    def report(self, batch, source):
        assert source == "report"
        value = np.full((2, 4, 3), batch["n"], np.float32)
        return {
            "loss/rew": np.float32(batch["n"]),
            "openloop/image": np.full((4, 8, 8, 3), batch["n"], np.uint8),
            "openloop/deep/vector/true": value,
            "openloop/deep/vector/pred": value + 1,
        }


class Batches:
    """Numbered batches."""

    def __init__(self):
        self.count = 0

    def next(self):
        self.count += 1
        return types.SimpleNamespace(batch={"n": self.count})


def test_numbers_are_averaged_and_the_last_batch_is_shown(tmp_path):
    memory, batches = Memory(), Batches()
    with Logger([memory], lambda: 0) as logger:
        files = report(Model(), batches, logger, tmp_path, batches=3)
        logger.write()
    assert batches.count == 3
    assert memory.metrics["report/loss/rew"] == 2.0
    assert (memory.metrics["report/openloop/image"] == 3).all()
    assert files == [tmp_path / "openloop" / "deep" / "vector.png"]
    assert files[0].read_bytes().startswith(b"\x89PNG")
