"""The examples of the tasks, shortened, from the command to the report; and the page's own task."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.growl_command import growl

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs" / "tasks.md").read_text("utf-8")
SHORT = ["dense.epochs=2", "train.epochs=2", "retrain.epochs=1", "measure.repeats=1", "measure.batch_sizes=[1]"]
STRENGTH = ["target=null", "growl.strength=1.0"]  # a target needs a longer training
EXAMPLES = {
    "regression": [],
    "multilabel": [],
    "segmentation": ["data.options={pictures: 200}"],
    "language-model": ["data.steps_per_epoch=8", "model.options={width: 32}"],
}


def run(capsys: pytest.CaptureFixture[str], recipe: str, out: Path, settings: list[str]) -> str:
    changes = [word for setting in [*SHORT, *settings] for word in ("--set", setting)]
    status, printed, err = growl(capsys, "run", recipe, "--out", str(out), *changes)
    assert status == 0, err
    return printed


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::torch_growl.errors.GrowlWarning")  # of so short a training
@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_runs_from_the_command_to_the_report_of_its_task(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    printed = run(capsys, f"examples/tasks/{name}.yaml", tmp_path / "run", [*STRENGTH, *EXAMPLES[name]])
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    metric = result["metric"]["name"]
    assert (result["schema"], result["task"]) == (2, name)
    assert list(result["score"]) == ["dense", "regularized", "tied", "retrained", "compact"]
    assert "accuracy" not in result
    assert result["score"]["compact"] == pytest.approx(result["score"]["retrained"], rel=1e-4)
    records = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert records[-1]["loss"] < records[0]["loss"]
    assert records[-1]["validation_score"] != records[-1]["train_score"]
    report = (tmp_path / "run" / "report.html").read_text()
    assert f"test {metric}" in report
    assert f"\n{metric}: dense " in printed
    assert "accuracy" not in re.sub("<pre>.*?</pre>", "", report + printed, flags=re.S).lower()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::torch_growl.errors.GrowlWarning")
def test_the_page_s_own_task_runs(
    own_module: Callable[[str, str], None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (code,), (recipe,) = (re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL) for language in ("python", "yaml"))
    own_module("own", code)
    Path("own.yaml").write_text(recipe)
    printed = run(capsys, "own.yaml", tmp_path / "run", [])
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["metric"] == {"name": "mean absolute error", "higher_is_better": False, "unit": "mm"}
    assert result["checks"]["outputs_differ_beyond_rounding"] is False
    assert 0 < result["score"]["compact"] < 9.0  # labels are 0 to 40 mm
    assert re.search(r"mean absolute error: dense \d\.\d+ mm → regularized", printed)
