"""`reverie info` and `reverie runs`, and completion in shells."""

import errno
import json
import os
import shutil
import subprocess

import pytest

from reverie import cli
from reverie.config.presets import presets
from reverie.config.schema import Config
from reverie.config.syntax.keys import leaves


def test_info_tells_versions_and_devices(capsys):
    assert cli.main(["info"]) == 0
    lines = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert "src/reverie" in lines["reverie"]
    assert "jaxlib 0." in lines["packages"]
    assert lines["devices"].startswith("cpu:0 (cpu)")
    assert "pytest" not in lines["extras"]


def test_info_tells_of_a_run(finished, copied, capsys):
    assert cli.main(["info", str(copied), "--json"]) == 0
    run = json.loads(capsys.readouterr().out)["run"]
    assert run["task"] == "gym_CartPole-v1"
    assert run["state"] == "finished, 120 of 120 steps."
    assert run["model"].startswith("debug, ")
    assert run["checkpoint"] == "at step 120"
    assert run["updates"] == f"{finished.updates}"
    assert cli.main(["info", str(finished.logdir), "--json"]) == 0
    again = json.loads(capsys.readouterr().out)["run"]
    assert again["options"].split(";")[0] == run["options"].split(";")[0]


def test_info_reads_past_a_damaged_checkpoint(copied, capsys):
    (path,) = copied.glob("checkpoints/*120/agent.safetensors")
    shutil.copytree(path.parent, path.parent.with_name("000000000007"))
    path.write_bytes(b"\x03" + bytes(7) + b"[1]")
    assert cli.main(["info", str(copied), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["run"]["model"].startswith("debug, ")


def test_runs_says_which_folders_it_may_not_enter(copied, tmp_path, monkeypatch, capsys):
    (tmp_path / "private").mkdir()
    scandir = os.scandir

    def refuse(path):  # As if it were another user's.
        if str(path).endswith("private"):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    assert cli.main(["runs", str(tmp_path)]) == 0
    out, err = capsys.readouterr()
    assert "copied" in out
    assert err == f"Left out {tmp_path}/private: Permission denied\n"


def test_runs_lists_what_is_below_a_folder(copied, tmp_path, capsys):
    shutil.copytree(copied, tmp_path / "deep" / "other")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "config.yaml").write_text("a: [")
    (tmp_path / "broken" / "metrics.jsonl").touch()
    assert cli.main(["runs", str(tmp_path)]) == 0
    out, err = capsys.readouterr()
    header, *rows = out.splitlines()
    assert header.split() == ["run", "state", "task", "model", "steps", "score", "left", "written"]
    assert [row.split()[0] for row in rows] == ["copied", "deep/other"]
    assert rows[0].split()[1:6] == ["finished", "CartPole-v1", "debug", "120", "(100%)"]
    assert f"Left out {tmp_path}/broken: " in err
    assert cli.main(["runs", str(tmp_path), "--json"]) == 0
    assert [run["state"] for run in json.loads(capsys.readouterr().out)] == ["finished"] * 2


def test_a_run_that_cannot_be_read_and_an_odd_name_leave_the_others(copied, tmp_path, capsys):
    shutil.copytree(copied, tmp_path / "sweep[lr=3e-4]" / "seed[/0]")
    for name, file in (("steps", "config.yaml"), ("metrics", "metrics.jsonl")):
        shutil.copytree(copied, tmp_path / name)
        with open(tmp_path / name / file, "a") as target:
            config = file == "config.yaml"
            target.write("run.steps: lots\n" if config else '{"step": null, "fps/policy": 1}\n')
    assert cli.main(["runs", str(tmp_path)]) == 0
    out, err = capsys.readouterr()
    assert [row.split()[0] for row in out.splitlines()[1:]] == ["copied", "sweep[lr=3e-4]/seed[/0]"]
    assert [line.split()[2] for line in err.splitlines()] == [
        f"{tmp_path / 'metrics'}:", f"{tmp_path / 'steps'}:"
    ]  # fmt: skip


def test_runs_of_an_empty_folder_and_of_none(tmp_path, capsys):
    assert cli.main(["runs", str(tmp_path)]) == 0
    assert "There are no runs in" in capsys.readouterr().out
    assert cli.main(["runs", str(tmp_path / "none")]) == 2
    assert cli.main(["info", str(tmp_path)]) == 2
    assert f"There is no run in {tmp_path}" in capsys.readouterr().err


COMPLETE = {
    "bash": 'source {file}; COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); '
    'COMPREPLY=(); _reverie; printf "%s\\n" "${{COMPREPLY[@]}}"',
    "zsh": "autoload -U compinit; compinit -u -D; source {file}; "
    'compadd() {{ shift; print -l -- ${{(M)@:#$words[CURRENT]*}} }}; _files() {{ print -l *(N) }}; '
    "words=({words}); CURRENT=$#words; _reverie",
    "fish": 'source {file}; complete -C "reverie {typed}"',
}  # fmt: skip


@pytest.mark.parametrize("shell", COMPLETE)
def test_shells_complete_commands_options_presets_and_choices(shell, tmp_path, capsys):
    if not shutil.which(shell):
        pytest.skip(f"{shell} is not installed.")
    assert cli.main(["completion", shell]) == 0
    (tmp_path / "script").write_text(capsys.readouterr().out)
    (tmp_path / "mine.yaml").touch()
    (tmp_path / "my run").mkdir()

    def complete(typed):
        words = " ".join(f"'{word}'" for word in f"reverie {typed}".split(" "))
        code = COMPLETE[shell].format(file=tmp_path / "script", words=words, typed=typed)
        flags = {"zsh": ["-f"], "bash": ["--norc"], "fish": ["--no-config"]}[shell]
        done = subprocess.run(
            [shell, *flags, "-c", code], capture_output=True, text=True, cwd=tmp_path,
            env={**os.environ, "HOME": str(tmp_path)},
        )  # fmt: skip
        assert not done.stderr
        return {line.partition("\t")[0] for line in done.stdout.split("\n")} - {""}

    assert {"train", "eval", "runs", "completion"} <= complete("")
    assert complete("tr") == {"train"}
    rates = {f"--{key}" for key in leaves(Config) if key.startswith("agent.opt.")}
    assert complete("train --agent.opt.") == rates
    assert complete("doctor --js") == {"--json"}
    assert complete("train --see") == {"--seed", "--seeds"}
    assert "--run" not in complete("train --run")
    assert {*presets(), "mine.yaml"} - {"defaults"} <= complete("train --configs ")
    assert {"size12m", "size1m"} <= complete("train --configs crafter size1")
    assert "crafter" not in complete("train --configs crafter size1")
    assert {"train_eval", "eval_only"} <= complete("train --seed 3 --script ")
    assert {"true", "false"} <= complete("train --random_agent ")
    if shell == "bash":  # Which splits words that are not told apart.
        assert complete("eval m") == {"mine.yaml", "my run"}


def test_completion_needs_a_shell_that_it_knows(capsys):
    assert cli.main(["completion", "tcsh"]) == 2
    assert "one of bash, zsh, fish" in capsys.readouterr().err
