"""Commands on a finished run: report, bench, export."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from tests.support.growl_command import growl
from torch_growl.application.reports.summary import headline
from torch_growl.application.runs.run import Run


@pytest.mark.slow
def test_report_makes_the_same_page_again(capsys: pytest.CaptureFixture[str], finished_folder: Path) -> None:
    page = finished_folder / "report.html"
    before = page.read_bytes()
    page.unlink()
    status, out, err = growl(capsys, "report", str(finished_folder))
    assert (status, err) == (0, "")
    assert page.read_bytes() == before
    assert f"report: {page}" in out
    words = headline(json.loads((finished_folder / "result.json").read_text())).split()
    assert " ".join(words) in " ".join(out.split())


@pytest.mark.slow
def test_several_runs_are_compared_on_one_page(
    capsys: pytest.CaptureFixture[str], finished_run: Run, finished_folder: Path, tmp_path: Path
) -> None:
    runs = [str(finished_run.folder.path), str(finished_folder)]
    page = tmp_path / "two.html"
    status, out, err = growl(capsys, "report", *runs, "--out", str(page))
    assert (status, err) == (0, "")
    assert f"comparison: {page}" in out
    assert "B: finished" in page.read_text(encoding="utf-8")
    status, _, err = growl(capsys, "report", runs[0], "--out", str(page))
    assert (status, "--out is for several runs" in err) == (2, True)
    status, _, err = growl(capsys, "report", runs[0], runs[0])
    assert (status, "is given twice" in err) == (2, True)


@pytest.mark.slow
def test_bench_times_every_runtime_and_batch_size(capsys: pytest.CaptureFixture[str], finished_folder: Path) -> None:
    asked = ["--batch", "4", "--repeats", "3", "--runtime", "eager", "--runtime", "onnxruntime"]
    status, out, _ = growl(capsys, "bench", str(finished_folder), *asked)
    assert status == 0
    assert "compact is" in out
    kept = json.loads((finished_folder / "latency.json").read_text(encoding="utf-8"))
    assert [(each["runtime"], each["batch"]) for each in kept["comparisons"]] == [("eager", 4), ("onnxruntime", 4)]
    assert all(each["verdict"] in out for each in kept["comparisons"])
    assert kept["threads"] == kept["environment"]["threads"] == 1  # the recipe's
    status, _, err = growl(capsys, "bench", str(finished_folder), "--runtime", "abacus")
    assert (status, "abacus" in err, len(err.strip().splitlines())) == (2, True, 1)


@pytest.mark.slow
def test_exported_files_give_the_outputs_of_the_compact_network(
    capsys: pytest.CaptureFixture[str], finished_run: Run, finished_folder: Path, tmp_path: Path
) -> None:
    import onnxruntime

    x = torch.rand(3, 64)
    with torch.no_grad():
        wanted = finished_run.compacted().eval()(x)
    status, out, err = growl(capsys, "export", str(finished_folder))
    assert (status, str(finished_folder / "model.onnx") in out) == (0, True), err
    assert "any batch size" in out
    session = onnxruntime.InferenceSession(str(finished_folder / "model.onnx"), providers=["CPUExecutionProvider"])
    (entry,) = session.get_inputs()
    (found,) = session.run(None, {entry.name: x.numpy()})
    torch.testing.assert_close(torch.from_numpy(found), wanted, rtol=1e-4, atol=1e-4)
    mine = tmp_path / "mine.pt2"
    status, _, err = growl(capsys, "export", str(finished_folder), "--format", "pt2", "--out", str(mine))
    assert status == 0, err
    torch.testing.assert_close(torch.export.load(mine).module()(x), wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "words"), [(["--format", "tflite"], "--format"), (["--out", "nowhere/a.onnx"], "nowhere")]
)
def test_export_to_an_unknown_format_or_folder_is_one_line(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str], finished_folder: Path
) -> None:
    before = {path.name for path in finished_folder.iterdir()}
    status, _, err = growl(capsys, "export", str(finished_folder), *arguments)
    assert (status, words in err, len(err.strip().splitlines())) == (2, True, 1)
    assert {path.name for path in finished_folder.iterdir()} - {".lock"} == before - {".lock"}
