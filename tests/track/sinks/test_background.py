"""Slow and broken sinks beside a run."""

import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from reverie.config.load import load
from reverie.config.schema import LoggerConfig
from reverie.errors import ConfigError
from reverie.track.logger import Logger
from reverie.track.sinks import background as module
from reverie.track.sinks.background import QUEUE, Background
from reverie.track.sinks.base import OutputError
from reverie.track.sinks.jsonl import read_jsonl
from reverie.track.sinks.registry import OUTPUTS, check_outputs, make_sinks


class Recorder:
    """A sink that remembers its calls and their thread."""

    def __init__(self):
        self.calls = []
        self.threads = {threading.get_ident()}

    def write(self, step, metrics):
        self.calls.append(("write", step, dict(metrics)))
        self.threads.add(threading.get_ident())

    def note(self, text):
        self.calls.append(("note", text))

    def close(self):
        self.calls.append(("close",))
        self.threads.add(threading.get_ident())


class Stuck(Recorder):
    """A sink that does not go on until it may."""

    def __init__(self):
        super().__init__()
        self.may = threading.Event()
        self.began = threading.Event()

    def write(self, step, metrics):
        self.began.set()
        self.may.wait()
        super().write(step, metrics)


def lazy(sink):
    """Makes a sink in the thread that will use it."""

    def make():
        sink.__init__()
        return sink

    return make


def messages(caplog):
    return [record.getMessage() for record in caplog.records if record.name == "reverie.track"]


def test_everything_happens_in_order_in_one_other_thread():
    sink = Recorder()
    background = Background({"a": lazy(sink)}, "")
    for step in range(3):
        background.write(step, {"x": step})
    background.note("hello")
    background.close()
    background.close()
    writes = [("write", step, {"x": step}) for step in range(3)]
    assert sink.calls == [*writes, ("note", "hello"), ("close",)]
    assert len(sink.threads) == 1
    assert threading.get_ident() not in sink.threads


def test_the_filter_chooses_and_the_default_shows_scores_losses_rates_and_predictions():
    sink = Recorder()
    background = Background({"a": lazy(sink)}, LoggerConfig().filter)
    shown = {
        "episode/score": 1,
        "eval/episode/length": 2,
        "fps/train": 3,
        "train/update_ratio": 4,
        "train/loss/dyn": 5,
        "report/openloop/image": np.zeros((2, 4, 4, 3), np.uint8),
    }
    background.write(1, {**shown, "usage/rss_gb": 6, "replay/items": 7})
    background.write(2, {"usage/rss_gb": 6})
    background.close()
    (_, step, metrics), _ = sink.calls
    assert (step, set(metrics)) == (1, set(shown))


def test_a_slow_sink_holds_nothing_up_and_its_drops_are_counted(caplog, monkeypatch):
    monkeypatch.setattr(module, "PATIENCE", 60)
    slow, quick = Stuck(), Recorder()
    background = Background({"slow": lambda: slow, "quick": lazy(quick)}, "")
    background.write(0, {"x": 0})
    assert slow.began.wait(60)
    for step in range(1, QUEUE + 4):
        while len(quick.calls) < step:
            time.sleep(0.001)
        background.write(step, {"x": step})
    assert messages(caplog) == ["The output slow is too slow: it does not get everything."]
    slow.may.set()
    background.close()
    assert [call[1] for call in slow.calls[:-1]] == list(range(QUEUE + 1))
    assert [call[1] for call in quick.calls[:-1]] == list(range(QUEUE + 4))
    assert messages(caplog)[1:] == ["The output slow did not get 3 writes."]


def test_closing_waits_for_all_together_and_not_for_ever(caplog, monkeypatch):
    def waited(worker, seconds):
        waits.append(seconds)
        join(worker, seconds)

    waits, join = [], module._Worker.join
    monkeypatch.setattr(module._Worker, "join", waited)
    monkeypatch.setattr(module, "PATIENCE", 0.5)
    sinks = [Stuck(), Stuck(), Stuck()]
    background = Background({f"s{i}": lambda s=s: s for i, s in enumerate(sinks)}, "")
    background.write(0, {"x": 0})
    begin = time.monotonic()
    background.close()
    assert time.monotonic() - begin >= 0.5
    assert len(waits) == 3
    assert sum(waits) < 0.6
    expected = [f"The output s{i} is not done in time: its last part is lost." for i in range(3)]
    assert messages(caplog) == expected
    for sink in sinks:
        sink.may.set()


@pytest.mark.parametrize("place", ["make", "write", "close"])
def test_a_sink_that_raises_is_reported_once_and_the_others_go_on(caplog, place):
    class Broken(Recorder):
        def write(self, step, metrics):
            if place == "write":
                raise RuntimeError("boom")

        def close(self):
            if place == "close":
                raise RuntimeError("boom")

    def make():
        if place == "make":
            raise RuntimeError("boom")
        return Broken()

    sink = Recorder()
    background = Background({"broken": make, "good": lazy(sink)}, "")
    for step in range(2 * QUEUE):
        while len(sink.calls) < step:
            time.sleep(0.001)
        background.write(step, {"x": step})
    background.close()
    assert messages(caplog) == [
        "The output broken failed and is switched off, the run goes on without it: "
        "RuntimeError: boom"
    ]
    assert len(sink.calls) == 2 * QUEUE + 1


MISSING = """
import sys
from reverie.track.sinks.base import OutputError
from reverie.track.sinks.registry import check_outputs

sys.modules |= dict.fromkeys(["tensorboardX", "wandb", "scope", "trackio"])
for name in sys.argv[1:]:
    try:
        check_outputs([name])
    except OutputError as error:
        print(error)
"""


def test_a_missing_package_is_told_before_the_run_with_what_installs_it():
    names = ["tensorboard", "wandb", "scope", "trackio"]
    # In a process of its own: a thread of another test may be importing a package.
    command = [sys.executable, "-c", MISSING, *names]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    for name, told in zip(names, run.stdout.splitlines(), strict=True):
        assert told.startswith(f"logger.outputs names '{name}'")
        assert f"pip install -c constraints.txt -e '.[{name}]'" in told


def test_names_are_checked_and_near_ones_suggested():
    with pytest.raises(OutputError, match=r"'tensorbord'.*Did you mean 'tensorboard'"):
        check_outputs(["tensorbord"])
    with pytest.raises(OutputError, match="twice"):
        check_outputs(["scope", "scope"])
    with pytest.raises(ConfigError, match=r"logger\.outputs.*Nearest known: tensorboard"):
        load(["--logger.outputs", "terminal", "tensorbord"])
    assert load(["--logger.outputs", *OUTPUTS]).logger.outputs == OUTPUTS


class Failing(Recorder):
    """A direct sink whose file is gone, as a terminal that was closed."""

    def __init__(self, error):
        super().__init__()
        self.error = error

    def write(self, step, metrics):
        raise self.error

    episode = write

    def note(self, text):
        raise self.error


def test_a_terminal_that_is_gone_does_not_end_the_run(tmp_path, caplog):
    terminal = Failing(BrokenPipeError(32, "Broken pipe"))
    sinks = [*make_sinks(["jsonl"], tmp_path, step=lambda: 1), terminal]
    with Logger(sinks, lambda: 1) as logger:
        logger.note("hello")
        logger.note("hello")
        logger.add({"episode/score": 1.0})
        logger.write()
    assert terminal.calls == [("close",)]
    assert len(messages(caplog)) == 1
    assert read_jsonl(tmp_path / "metrics.jsonl")[0]["episode/score"] == 1.0


def test_a_full_disk_and_a_lost_record_are_errors(tmp_path):
    full = Failing(OSError(28, "No space left on device"))
    with pytest.raises(OSError, match="No space left"):
        Logger([full], lambda: 1).note("x")
    (jsonl, _) = make_sinks(["jsonl"], tmp_path, step=lambda: 1)
    jsonl.close()
    with pytest.raises(ValueError, match="closed"):
        Logger([jsonl], lambda: 1).add({"episode/score": 1.0})
