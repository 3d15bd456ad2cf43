"""The split of a whole run's wall clock."""

import importlib
import json
import operator
import subprocess
import sys

import pytest
import whole_run


def test_the_parts_exist():
    for functions in whole_run.PARTS.values():
        for function in functions:
            module, _, name = function.partition(":")
            assert callable(operator.attrgetter(name)(importlib.import_module(module)))


@pytest.mark.slow
def test_a_run_is_split_into_its_parts():
    words = [sys.executable, whole_run.__file__, "debug"]
    words += ["--seconds", "1", "--json"]
    done = subprocess.run(words, capture_output=True, text=True)
    assert not done.returncode, done.stderr
    result = json.loads(done.stdout)["debug"]
    assert result["updates/s"] > 0 < result["steps/s"]
    assert result["alone"] > 0
    parts = ("environment", "policy", "replay", "update", "logging", "saving")
    assert all(result[part] >= 0 for part in parts)
    assert sum(result[part] for part in (*parts, "other")) == pytest.approx(1)
    assert min(result["update"], result["environment"], result["policy"]) > 0
