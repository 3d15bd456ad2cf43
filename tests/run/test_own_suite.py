"""A suite of another package, which an entry point announces, as the example has one."""

import json
import os
import pathlib
import subprocess
import sys
import tomllib

import pytest

from reverie.config.syntax import yaml_text

EXAMPLE = pathlib.Path(__file__).parents[2] / "examples" / "own_suite"
SOURCE = pathlib.Path(__file__).parents[2] / "src"
TRAIN = ["train", "--configs", "debug", "--logger.outputs", "jsonl"]
RANDOM = [*TRAIN, "--random_agent", "true"]
EACH = """
import json, sys
from reverie.cli import main
for words in json.loads(sys.argv[1]):
    print(main(words))
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A folder with what an installation of the example leaves there, without its module."""
    project = tomllib.loads((EXAMPLE / "pyproject.toml").read_text())["project"]
    folder = tmp_path_factory.mktemp("site")
    info = folder / f"own_suite-{project['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Name: {project['name']}\nVersion: {project['version']}\n")
    lines = [
        f"[{group}]\n" + "".join(f"{name} = {value}\n" for name, value in points.items())
        for group, points in project["entry-points"].items()
    ]
    (info / "entry_points.txt").write_text("".join(lines))
    return folder


@pytest.fixture(scope="module")
def reverie(site, tmp_path_factory):
    """Runs the command, with the example installed or without."""
    state = str(tmp_path_factory.mktemp("state"))

    def run(*words, start=("-m", "reverie"), installed=True, state=state):
        places = [str(SOURCE), *((str(site), str(EXAMPLE)) if installed else ())]
        return subprocess.run(
            [sys.executable, *start, *map(str, words)],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(places), "XDG_STATE_HOME": state},
            capture_output=True,
            text=True,
            timeout=300,
        )

    return run


@pytest.fixture(scope="module")
def trained(reverie, cache, tmp_path_factory):
    """The folder of a run on the example."""
    folder = tmp_path_factory.mktemp("runs") / "corridor"
    words = ["--task", "corridor_short", "--env.corridor.wind", "0.1", "--run.env_backend", "async"]
    words += ["--run.steps", 40, "--run.envs", 2, "--run.train_ratio", 0, "--jax.cache_dir", cache]
    done = reverie(*TRAIN, *words, "--logdir", folder)
    assert done.returncode == 0, done.stderr
    assert "Run finished after 40 environment steps" in done.stdout
    return folder


def test_it_is_listed_and_checked(reverie):
    check = ["envs", "check", "corridor_long", "--env.corridor.limit", "50"]
    said = reverie(json.dumps([["envs"], check]), start=("-c", EACH)).stdout
    listed, code, checked = said.partition("\n0\n")
    assert "corridor_short, corridor_long" in listed
    assert code
    assert "corridor_long can be trained on." in checked
    assert checked.endswith("\n0\n")


def test_its_errors_are_as_clear_as_those_of_ours(reverie, tmp_path):
    mistakes = [
        (["--env.corridor.wnd", "0.1"], ["Unknown key", "Nearest known: env.corridor.wind"]),
        (["--env.corridor.wind", "0.5"], ["expected a number >= 0 and < 0.5"]),
        (["--task", "corridor_sort"], ["There is no corridor 'sort', only short and long"]),
    ]
    begin = [*RANDOM, "--task", "corridor_short", "--logdir", str(tmp_path)]
    failed = reverie(json.dumps([[*begin, *words] for words, _ in mistakes]), start=("-c", EACH))
    assert failed.stdout.split() == ["2"] * len(mistakes)
    for _, messages in mistakes:
        assert all(message in failed.stderr for message in messages)
    assert "Traceback" not in failed.stderr


def test_a_run_goes_on_with_its_options(reverie, cache, trained):
    again = ["train", "--logdir", str(trained), "--jax.fast_compile", "true"]
    more = [*again, "--run.steps", "44", "--jax.cache_dir", cache]
    other = [*again, "--env.corridor.wind", "0.2"]
    done = reverie(json.dumps([more, other]), start=("-c", EACH))
    assert "Run finished after 44 environment steps" in done.stdout
    assert done.stdout.endswith("\n2\n")
    assert yaml_text.read(trained / "config.yaml")["env"]["corridor"] == {"wind": 0.1, "limit": 100}
    assert "env.corridor.wind: saved 0.1, now 0.2 (not allowed: it changes the task" in done.stderr


def test_a_run_made_elsewhere_needs_no_trust_for_what_is_installed(
    reverie, cache, trained, tmp_path
):
    words = ["--episodes", 2, "--jax.cache_dir", cache, "--jax.fast_compile", "true"]
    played = reverie("eval", trained, *words, state=str(tmp_path))
    assert played.returncode == 0, played.stderr


def test_without_the_package_its_runs_say_so_and_others_go_on(reverie, trained, tmp_path):
    words = ["--task", "dummy_disc", "--run.steps", 20, "--run.envs", 1]
    assert reverie(*RANDOM, *words, "--logdir", tmp_path).returncode == 0
    assert "corridor" in yaml_text.read(tmp_path / "config.yaml")["env"]
    words = [["eval", str(trained)], ["train", "--logdir", str(tmp_path), "--run.steps", "30"]]
    done = reverie(json.dumps(words), start=("-c", EACH), installed=False)
    code, _, said = done.stdout.partition("\n")
    assert int(code)
    assert "has the suite 'corridor' of another package, which is not installed" in done.stderr
    assert "Run finished after 30 environment steps" in said, done.stderr
