"""The files of a run: whatever is missing, damaged or does not fit is named in one line."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from tests.support.made_up_run import edit
from torch_growl.application.reports.report import make_report
from torch_growl.errors import RunFolderError


@pytest.mark.parametrize("name", ["result.json", "tying.json", "metrics.jsonl", "recipe.yaml"])
def test_a_missing_file_is_named(run: Path, name: str) -> None:
    (run / name).unlink()
    with pytest.raises(RunFolderError, match=rf"{re.escape(str(run / name))} is not there; .+") as caught:
        make_report(run)
    assert "\n" not in str(caught.value)
    assert not (run / "report.html").exists()
    assert not (run / "figures").exists()


@pytest.mark.parametrize("name", ["result.json", "tying.json", "metrics.jsonl"])
def test_a_cut_off_file_is_named(run: Path, name: str) -> None:
    text = (run / name).read_text()
    (run / name).write_text(text[: len(text) - 20])
    where = ", line 10" if name == "metrics.jsonl" else ""
    with pytest.raises(RunFolderError, match=rf"{re.escape(name)}{where} is not JSON .*; .+`growl"):
        make_report(run)


@pytest.mark.parametrize("name", ["rows", "row_norms"])
@pytest.mark.parametrize(
    ("values", "said"),
    [
        (np.ones((3, 5), np.float32), r"'fc1.*' must be 2-D with 64 rows, got shape \(3, 5\)"),
        (np.ones(64, np.float32), r"must be 2-D with 64 rows, got shape \(64,\)"),
        (np.full((64, 64), np.nan, np.float32), "must be finite"),
        (None, "cannot be read"),
    ],
)
def test_damaged_tensors_are_named(run: Path, name: str, values: np.ndarray | None, said: str) -> None:
    path = run / "checkpoints" / f"{name}.safetensors"
    if values is None:
        path.write_bytes(path.read_bytes()[:100])
    else:
        save_file({"fc1|trained" if name == "rows" else "fc1": values}, path)
    with pytest.raises(RunFolderError, match=rf"{re.escape(str(path))}.*{said}.*; delete it"):
        make_report(run)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda r: r.update(schema=3), "schema: .*1 or 2"),
        (lambda r: r.update(schema=2), "score or metric is missing"),
        (lambda r: r.pop("accuracy"), "accuracy is missing"),
        (lambda r: r.pop("macs"), "macs: Field required"),
        (lambda r: r["bytes"].update(dense="many"), "bytes.dense: .*number"),
        (lambda r: r["layers"][1].pop("rows"), "layers.1.rows: Field required"),
        (lambda r: r["layers"][1].update(rows=31), "tying.json: layer 'features.3' must have 31 labels, .* found 30"),
        (lambda r: r["latency_ms"]["compact"].update(big=1.0), "latency_ms.compact.big"),
    ],
)
def test_a_wrong_result_is_named(run: Path, change: Callable[[dict[str, Any]], object], said: str) -> None:
    edit(run, change)
    with pytest.raises(RunFolderError, match=said) as caught:
        make_report(run)
    assert "\n" not in str(caught.value)


def test_a_result_that_is_no_mapping_and_a_recipe_that_is_no_yaml(run: Path) -> None:
    (run / "recipe.yaml").write_text("a: [", encoding="utf-8")
    with pytest.raises(RunFolderError, match="recipe.yaml: its text, line 1: .*; put back the recipe"):
        make_report(run)
    (run / "result.json").write_text("[]", encoding="utf-8")
    with pytest.raises(RunFolderError, match="result.json: the whole: "):
        make_report(run)
