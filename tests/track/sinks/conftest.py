"""Outputs that have all the time they take."""

import pytest

from reverie.track.sinks.background import Background


@pytest.fixture(autouse=True)
def patient(monkeypatch):
    """A run waits four seconds for what is not written yet: a busy machine may exceed that."""
    monkeypatch.setattr(Background.__init__, "__defaults__", (400.0,))
