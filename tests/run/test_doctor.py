"""`reverie doctor` on the folder of a run."""

import json
import re
import shutil

import jax
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


def test_unknown_numbers_pass_where_jax_looks_for_nan(finished, capfd):
    with jax.debug_nans(True):
        assert cli.main(["doctor", str(finished.logdir)]) in (0, 1)
    assert re.search("unknown +obs ", capfd.readouterr().out)


def test_json_and_nothing_else(finished, capfd):
    code = cli.main(["doctor", "--json", "--logdir", str(finished.logdir)])
    content = json.loads(capfd.readouterr().out)
    assert content["exit_code"] == code
    assert all(set(x) == {"about", "level", "says", "advice"} for x in content["lines"])


def test_files_that_are_missing_or_damaged_are_told(finished, tmp_path, capfd):
    folder = tmp_path / "run"
    shutil.copytree(finished.logdir, folder)
    (folder / "scores.jsonl").unlink()
    (folder / "metrics.jsonl").write_text('{"step": 1}\nno json\n{"step": 2}\n')
    shutil.rmtree(folder / "replay")
    assert cli.main(["doctor", str(folder)]) == 2
    out = capfd.readouterr().out
    assert re.search(r"unknown +scores.jsonl +it does not exist", out)
    assert re.search(r"sick +metrics.jsonl .*metrics.jsonl, line 2 is not a JSON object", out)
    assert re.search("unknown +checkpoint +the saved replay is not in its folder", out)


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
