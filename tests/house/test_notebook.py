"""The notebook under examples/ runs, its figures and tables are there, and its code is the tutorial's."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOK = ROOT / "examples" / "sensors.ipynb"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
def test_the_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nbformat = pytest.importorskip("nbformat")
    client = pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    monkeypatch.setenv("PYTHONPATH", f"{ROOT / 'src'}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("MPLBACKEND", "agg")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = []
    client.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    shown = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    kinds = [kind for output in shown for kind in output.get("data", {})]
    assert kinds.count("image/png") == 2
    assert kinds.count("text/html") >= 3
    assert any("target reached" in output.get("text", "") for output in shown)
    assert shown[-1]["data"]["text/plain"] == "True"


def test_the_notebook_s_network_is_the_tutorial_s() -> None:
    nbformat = pytest.importorskip("nbformat")
    code = [cell.source for cell in nbformat.read(NOTEBOOK, as_version=4).cells if cell.cell_type == "code"]
    tutorial = (ROOT / "docs" / "tutorial.md").read_text("utf-8")
    assert code[0] in tutorial
    for call in (
        "target=tg.Target(weights=0.2, compensate=False)",
        'method="ward", groups={"0": 8}',
        "tg.compact(model, example)",
    ):
        assert call in tutorial
        assert any(call in cell for cell in code)
