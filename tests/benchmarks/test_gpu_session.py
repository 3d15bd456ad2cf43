"""The session for a machine with a GPU, tried on a CPU."""

import json
import subprocess
import sys

import gpu_session
import pytest


@pytest.mark.slow
def test_a_tiny_session_measures_every_kind_of_case(tmp_path):
    out = tmp_path / "result"
    words = [sys.executable, gpu_session.__file__, "--out", str(out), "--tiny"]
    done = subprocess.run(words, capture_output=True, text=True)
    results = json.loads(out.with_suffix(".json").read_text())
    assert not done.returncode, results
    kinds = {result["case"].split()[0] for result in results}
    assert kinds == set(gpu_session.CASES)
    assert [r["setting"] for r in results if r["setting"] != "defaults"] == ["loops in graphs"]
    lines = out.with_suffix(".md").read_text().splitlines()
    assert len(lines) == 2 + len(results)


def test_what_fails_is_told(monkeypatch, tmp_path, capsys):
    failed = lambda case, setting, left: {"failed": "no card"}  # noqa: E731
    monkeypatch.setattr(gpu_session, "in_process", failed)
    monkeypatch.setattr(sys, "argv", ["gpu_session.py", "--out", str(tmp_path / "result")])
    assert gpu_session.main() == 1
    assert capsys.readouterr().out.count("no card") == len(gpu_session.cases(tiny=False))
