"""The one-way import table of docs/architecture.md."""

import ast
import pathlib
import subprocess
import sys

import pytest

SOURCE = pathlib.Path(__file__).parents[1] / "src" / "reverie"
LAYERS = {
    "spaces": -1,  # The vocabulary: everybody may use it.
    "disk": -1,
    "clocks": -1,
    "machine": -1,
    "extras": -2,
    "errors": -2,
    "options": -2,
    "catalog": -1,
    "config": 0,
    "envs": 1,
    "replay": 1,
    "track": 1,
    "nn": 1,
    "world": 2,
    "agent": 3,
    "learner": 4,
    "actors": 5,
    "run": 6,
    "api": 8,
    "cli": 8,
    "commands": 7,
    "doctor": 7,
    "view": 7,
    "__init__": 9,
    "__main__": 9,
}
WINGS = {
    # Folders and files within a package: the lowest first, and above them all others.
    "agent": (
        "precision",
        "networks training",
        "action_mask sequences",
        "imagination",
        "objectives predictions",
    ),
    "commands": ("words help_texts", "process explain completion info parallel"),
    "config": (
        "nearest sections",
        "syntax named",
        "schema",
        "overlay checks",
        "presets saved_runs",
        "printing",
    ),
    "envs": ("errors images", "flat", "notes", "wrappers probe", "vector", "suites", "registry"),
    "envs.suites": ("_common",),
    "learner": ("compilation checkpoints", "placement"),
    "run": ("saved environments", "parts", "reports planning"),
    "track": ("encoding", "sinks", "pictures", "runs"),
}
FORBIDDEN = {
    "config": {"jax", "gymnasium"},
    "envs": {"jax"},
    "replay": {"jax"},
    "track": {"jax"},
    "nn": {"os", "threading", "time", "pathlib"},
    "world": {"os", "threading", "time", "pathlib"},
    "agent": {"os", "threading", "time", "pathlib"},
}
FILES = sorted(SOURCE.rglob("*.py"))


def package_of(path: pathlib.Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def imports_of(path: pathlib.Path) -> set[str]:
    """Absolute names of all modules that a file imports, wherever in the file."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def wing_of(package: str, parts: list[str]) -> tuple[int, str]:
    """Floor and name of the wing, or of the file, in which a module lies."""
    floors, name = WINGS[package], parts[0].removesuffix(".py")
    found = [(i, name) for i, floor in enumerate(floors) if name in floor.split()]
    return found[0] if found else (len(floors), "")


@pytest.mark.parametrize("package", WINGS)
def test_wings_of_a_package_know_lower_ones_only(package):
    folder, whole = SOURCE / package.replace(".", "/"), f"reverie.{package}."
    for path in folder.rglob("*.py"):
        if path == folder / "__init__.py":
            continue
        floor, wing = wing_of(package, list(path.relative_to(folder).parts))
        for name in imports_of(path):
            if name.startswith(whole):
                below, other = wing_of(package, name.removeprefix(whole).split("."))
                assert below < floor or other == wing, f"{path} imports {name}"


def test_every_folder_with_code_is_a_package():
    """A wheel leaves out what git ignores, as a folder once was that had a common name."""
    folders = {path.parent for path in FILES}
    assert [each for each in folders if not (each / "__init__.py").exists()] == []


def test_every_package_has_a_layer():
    assert {package_of(path) for path in FILES} == set(LAYERS)


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_imports_point_down(path):
    package = package_of(path)
    for name in imports_of(path):
        root, *rest = name.split(".")
        assert root not in FORBIDDEN.get(package, ()), f"{package} may not import {name}"
        # `from reverie import envs` names a package, `import reverie` the public interface.
        if root == "reverie" and rest and rest[0] in LAYERS and rest[0] != package:
            assert LAYERS[rest[0]] < LAYERS[package], f"{package} may not import {name}"


def test_options_are_read_without_jax_and_gymnasium():
    code = "import sys, reverie.config.load; print(*{'jax', 'gymnasium'} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == []


@pytest.mark.parametrize(
    ("imported", "without"),
    [
        # The command can take signals before it imports packages.
        ("reverie.cli", {"numpy", "pydantic", "yaml", "jax"}),
        # Checkpoints and scores are read without JAX.
        (
            "reverie.learner.checkpoints.checkpoint, reverie.run.allocator, reverie.run.plot",
            {"jax"},
        ),
        # Processes of environments start without the configuration.
        ("reverie.envs.vector.worker", {"pydantic", "yaml", "reverie.config"}),
    ],
)
def test_what_starts_fast_imports_little(imported, without):
    code = f"import sys, {imported}; print(*{without!r} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == []
