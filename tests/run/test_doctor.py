"""`reverie doctor` on the folder of a run."""

import json
import re

import pytest

from reverie import cli


def files(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_short_run_is_not_sick_and_its_folder_is_only_read(finished, capfd):
    before = files(finished.logdir)
    code = cli.main(["doctor", str(finished.logdir)])
    out = capfd.readouterr().out
    assert code in (0, 1)
    assert "sick" not in out
    # Its 120 steps are enough to look at the model, and too few to judge it.
    assert re.search("healthy +checkpoint +of step 120, on 2 sequences of", out)
    assert re.search(r"unknown +actions|healthy +actions", out)
    assert files(finished.logdir) == before


def test_json_and_nothing_else(finished, capfd):
    code = cli.main(["doctor", "--json", "--logdir", str(finished.logdir)])
    content = json.loads(capfd.readouterr().out)
    assert content["exit_code"] == code
    assert all(set(x) == {"about", "level", "says", "advice"} for x in content["lines"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "reverie doctor needs the folder of a run"),
        (["FOLDER", "--fast"], "reverie doctor does not know --fast"),
        (["nowhere"], "There is no run in"),
    ],
)
def test_errors_are_explained(words, message, capfd, tmp_path):
    assert cli.main(["doctor", *(word.replace("FOLDER", str(tmp_path)) for word in words)]) == 2
    assert message in capfd.readouterr().err
