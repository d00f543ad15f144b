"""A run whose files have one changed bit: it is refused in our words, or its results are bit-equal."""

from __future__ import annotations

import random
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.support.digits_run import figures
from torch_growl.application.reports.report import make_report
from torch_growl.application.runs.run import Run
from torch_growl.application.runs.run_folder import RunFolder
from torch_growl.application.runs.stages import do_stages
from torch_growl.errors import GrowlError

READ = (
    "recipe.yaml",
    "metrics.jsonl",
    "tying.json",
    "model.safetensors",
    "result.json",
    *(f"checkpoints/{name}" for name in ("dense.pt", "train.pt", "retrain.pt", "rows.safetensors")),
    "checkpoints/row_norms.safetensors",
)


def outcome(folder: RunFolder, *, whole: bool = True) -> dict[str, Any]:
    """Finish the run and make its report: the figures, and the pictures, which do not depend on times."""
    if whole:
        do_stages(Run(folder))
    make_report(folder.path)
    pictures = {path.name: path.read_bytes() for path in (folder.path / "figures").iterdir()}
    return {**figures(folder.result()), **pictures}


@pytest.mark.slow
@pytest.mark.parametrize("name", READ)
def test_a_changed_bit_is_refused_or_changes_no_result(name: str, finished_run: Run, tmp_path: Path) -> None:
    expected = outcome(finished_run.folder)
    by_report = name == "result.json" or "row" in name  # the report alone reads these
    chance, refused = random.Random(name), 0
    for number in range(6):
        folder = RunFolder(Path(shutil.copytree(finished_run.folder.path, tmp_path / str(number))))
        if not by_report:  # the evaluation is done again from all other files
            folder.drop_from("eval")
        path = folder.path / name
        data = bytearray(path.read_bytes())
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        path.write_bytes(data)
        try:
            assert outcome(folder, whole=not by_report) == expected
        except GrowlError:
            refused += 1
        assert path.read_bytes() == data
        shutil.rmtree(folder.path)
    assert refused >= 4  # a bit of the words before the checksum may change
