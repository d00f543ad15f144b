"""The charts of a run: its points, its target, its sweep and the way there, and every track of its training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.made_up_run import edit
from torch_growl.application.reports.report import make_report
from torch_growl.application.reports.run_charts import size_view, training_view
from torch_growl.application.reports.run_files import read_run
from torch_growl.errors import RunFolderError


def with_target(run: Path, of: str = "macs", asked: float = 50_000.0, score: float = 0.975) -> None:
    """Give a run a target of 238,200 that it reaches with 26,176, pruned to 40,000."""
    target = {"of": of, "asked": asked, "left": 26_176.0, "pruned": 40_000.0, "dense": 238_200.0}
    edit(run, lambda result: result.update(target={**target, "reached": True, "why": None}))
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    for record in lines:
        record["layers"] = {"fc1": {"rows": 64, "nonzero": 48, "distinct": 32}}
        if record["stage"] == "train":
            left = None if record["epoch"] == 1 else 238_200 / record["epoch"]
            record["target"] = {"of": of, "asked": asked, "left": left, "dense": 238_200.0}
            record["validation_accuracy"] = score
    (run / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in lines))


def test_a_run_is_drawn_beside_its_dense_network(run: Path) -> None:
    view = size_view(read_run(run))
    assert view is not None
    assert view.of == "bytes, indices packed"
    assert view.points == [("dense", "1.00x", "98.31 %"), ("this run, compact", "18.20x", "98.11 %")]
    assert not view.path
    assert 'aria-label="Accuracy against size. dense: 98.31 %; this run, compact: 98.11 %, 18.2x smaller"' in view.chart


def test_a_target_has_its_measure_its_line_and_the_epochs_that_led_to_it(run: Path) -> None:
    with_target(run)
    view = size_view(read_run(run))
    assert view is not None
    assert view.of == "MACs"
    assert view.points == [
        ("dense", "1.00x", "98.31 %"),
        ("pruned, before tying", "5.96x", "97.71 %"),
        ("this run, compact", "9.10x", "98.11 %"),
    ]
    assert view.path
    assert "target 4.76x" in view.chart
    assert view.chart.count("<title>epoch ") == 2 * 4  # the first has no record of what is left; two widths


def test_epochs_far_from_the_tested_networks_are_no_path(run: Path) -> None:
    with_target(run, score=0.6)
    view = size_view(read_run(run))
    assert view is not None
    assert not view.path
    with_target(run, score=0.95)  # below the axis of the tested networks alone
    view = size_view(read_run(run))
    assert view is not None
    assert view.path
    assert view.chart.count("<title>epoch ") == 2 * 4


def test_a_target_of_accuracy_counts_weights_and_has_no_line(run: Path) -> None:
    with_target(run, of="accuracy_drop", asked=1.0)
    view = size_view(read_run(run))
    assert view is not None
    assert (view.of, view.points[-1][1]) == ("weights", "17.01x")
    assert "target " not in view.chart


def point(strength: float, network: float, compact: float) -> dict[str, Any]:
    compression = {"layers": 1.0, "network": network, "file": 1.0}
    return {"strength": strength, "run": f"run{strength:g}", "score": {"compact": compact}, "compression": compression}


def test_a_run_of_a_sweep_is_drawn_on_its_curve(run: Path) -> None:
    points = [point(1, 9.0, 0.982), point(2, 30.0, 0.97), {**point(1.5, 18.2, 0.98115), "run": run.name}]
    (run.parent / "sweep.json").write_text(json.dumps({"points": points}))
    view = size_view(read_run(run))
    assert view is not None
    assert view.points[2:] == [
        ("strength 1", "9.00x", "98.20 %"),
        ("strength 1.5", "18.20x", "98.11 %"),
        ("strength 2", "30.00x", "97.00 %"),
    ]
    (run.parent / "sweep.json").write_text(json.dumps({"points": points[:2]}))  # the folder is not in it
    assert read_run(run).sweep == []
    (run.parent / "sweep.json").write_text('{"points": [{}]}')
    with pytest.raises(RunFolderError, match=r"sweep.json: points.0.*delete it to make a report without"):
        read_run(run)


def test_the_training_has_the_metric_the_rows_and_the_target(run: Path) -> None:
    with_target(run)
    chart = training_view(read_run(run))
    assert chart is not None
    for words in (
        *("validation accuracy", "training accuracy", "rows that are not pruned", "distinct rows"),
        *("MACs left", "MACs asked", "Training, 10 epochs; validation accuracy: dense ends with 93.0 %"),
    ):
        assert words in chart


def test_records_without_rows_show_the_weights_of_the_layers(run: Path) -> None:
    chart = training_view(read_run(run))
    assert chart is not None
    assert "distinct weights of the regularised layers" in chart
    assert "rows that are not pruned" not in chart


@pytest.mark.usefixtures("quick")
def test_values_that_are_not_finite_are_left_out(run: Path) -> None:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    lines[0]["train_accuracy"] = lines[1]["validation_accuracy"] = float("inf")
    (run / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in lines))
    edit(run, lambda result: result["accuracy"].update(compact=float("nan")))
    given = read_run(run)
    view, chart = size_view(given), training_view(given)
    assert view is not None
    assert [name for name, *_ in view.points] == ["dense"]
    assert chart is not None
    assert not {"inf ", "nan"} & set(chart.replace('"', " ").split())
    make_report(run)


def test_without_tests_and_epochs_there_are_no_charts(run: Path) -> None:
    edit(run, lambda result: result.update(accuracy={"dense": None, "compact": None}, epochs={"dense": 0}))
    (run / "metrics.jsonl").write_text("")
    given = read_run(run)
    assert size_view(given) is None
    assert training_view(given) is None
