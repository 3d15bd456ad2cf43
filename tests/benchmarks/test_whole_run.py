"""The split of a whole run's wall clock."""

import json
import subprocess
import sys

import pytest
import whole_run


@pytest.mark.slow
def test_a_run_is_split_into_its_parts():
    words = [sys.executable, whole_run.__file__, "debug"]
    words += ["--seconds", "1", "--json"]
    done = subprocess.run(words, capture_output=True, text=True)
    assert not done.returncode, done.stderr
    result = json.loads(done.stdout)["debug"]
    assert result["updates/s"] > 0 < result["steps/s"]
    assert result["alone"] > 0
    parts = ("environment", "policy", "replay", "update", "logging")
    assert all(result[part] >= 0 for part in parts)
    assert sum(result[part] for part in (*parts, "other")) == pytest.approx(1)
    assert min(result["update"], result["environment"], result["policy"]) > 0
