"""Lets the processes that tests start find the package where the tests found it."""

import os
import sys

import pytest


@pytest.fixture(autouse=True)
def _same_import_path(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))
