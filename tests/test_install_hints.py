"""What messages and documents say about installing."""

import pathlib
import tomllib

from reverie.extras import UNCONSTRAINED, install

ROOT = pathlib.Path(__file__).parents[1]
TEXTS = [
    path
    for folder in ("src", "docs", "examples", "benchmarks")
    for path in (ROOT / folder).rglob("*")
    if path.suffix in (".py", ".md", ".yaml")
] + [ROOT / "README.md", ROOT / "Makefile"]


def test_no_text_installs_whatever_bears_the_name_of_the_project():
    for path in TEXTS:
        text = path.read_text()
        for wrong in ("reverie[", "pip install reverie", "pip install 'reverie"):
            assert wrong not in text, f"{path}: {wrong}"


def test_commands_name_extras_that_exist():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    assert extras.keys() >= UNCONSTRAINED
    assert install("dmc", "crafter") == "pip install -c constraints.txt -e '.[dmc,crafter]'"
    assert install("metaworld") == "pip install -e '.[metaworld]'"
    for path in TEXTS:
        for part in path.read_text().split("-e '.[")[1:]:
            if "{" not in part.partition("]")[0]:
                assert set(part.partition("]")[0].split(",")) <= extras.keys(), path
