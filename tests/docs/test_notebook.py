"""The notebook among the examples runs as it stands, and says little."""

import os
import pathlib
import sys

import pytest

nbclient = pytest.importorskip("nbclient", reason="needs nbclient and ipykernel")
nbformat = pytest.importorskip("nbformat")
kernelspec = pytest.importorskip("jupyter_client.kernelspec")
for name in ("ipykernel", "pygame", "imageio_ffmpeg"):
    pytest.importorskip(name, reason="needs ipykernel and the extra video")

NOTEBOOK = pathlib.Path(__file__).parents[2] / "examples" / "quickstart.ipynb"


@pytest.fixture
def here(monkeypatch):
    """A kernel of this very interpreter, wherever those that are installed belong to."""
    argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    spec = kernelspec.KernelSpec(argv=argv, display_name="here", language="python")
    monkeypatch.setattr(kernelspec.KernelSpecManager, "get_kernel_spec", lambda *_: spec)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path for path in sys.path if path))


def test_the_notebook_trains_draws_evaluates_and_films(here, tmp_path):
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    assert not any(cell.get("outputs") for cell in notebook.cells)
    folder = {"metadata": {"path": str(tmp_path)}}
    nbclient.NotebookClient(notebook, timeout=300, resources=folder).execute()
    outputs = [out for cell in notebook.cells for out in cell.get("outputs", [])]
    text = "".join(out["text"] for out in outputs if out["output_type"] == "stream")
    assert "Run finished after 300 environment steps" in text
    assert "One episode by hand" in text
    assert len(text.splitlines()) < 60
    assert max(map(len, text.splitlines())) <= 160
    kinds = {kind for out in outputs for kind in out.get("data", {})}
    assert {"image/png", "text/html"} <= kinds
    assert (tmp_path / "logdir" / "notebook" / "film.mp4").stat().st_size > 1000
