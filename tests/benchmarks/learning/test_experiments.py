"""The experiments: every command runs end to end on a little data."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import torch_growl as tg
from benchmarks.learning.experiments import (
    curve,
    decorrelated,
    from_path,
    halves,
    latency_target,
    lenet5,
    one_step,
    one_strength,
    quarters,
    resnet20,
    table1,
    table2,
    table2_short,
    targets,
    task_examples,
    ties,
)
from benchmarks.learning.pages import network_tables, pictures
from benchmarks.learning.training.methods import Budget
from torch_growl.application.data.datasets import Splits, TensorSplit, load_digits_splits, load_mnist
from torch_growl.application.models.perceptrons import digits_mlp

pytestmark = pytest.mark.slow


def few(splits: Splits) -> Splits:
    """The same with a hundred examples to be tested on."""
    validation, test = (TensorSplit(part.x[:100], part.y[:100]) for part in (splits.validation, splits.test))  # type: ignore[attr-defined]
    return replace(splits, validation=validation, test=test)


def test_whitened_inputs_are_uncorrelated(data_dir: Path) -> None:
    splits = load_mnist(data_dir, limit=3000)
    x = decorrelated.whitened(splits).train.x.double()  # type: ignore[attr-defined]
    covariance = torch.cov(x.T)
    spread = covariance.diagonal().clamp_min(1e-9).rsqrt()
    correlation = (covariance * spread[:, None] * spread).fill_diagonal_(0).abs()
    assert correlation[covariance.diagonal() > 0.1].mean() < 0.02
    assert decorrelated.correlation(splits.train.x) > 0.4  # type: ignore[attr-defined]
    assert decorrelated.correlation(x) < 0.3


def test_tying_with_and_without_correlated_inputs_runs(data_dir: Path) -> None:
    splits = few(load_mnist(data_dir, limit=256))
    points = decorrelated.job("pixels", 0, splits, quick=True)
    assert {point["penalty"] for point in points} == set(decorrelated.PENALTIES)
    assert len(points) == 3 + 2 * 2 * 4
    assert {point["groups"] for point in points} == {None, *decorrelated.GROUPS}
    assert all(point["nonzero"] == 784 for point in points if point["penalty"] == "none")


def test_lenet5_runs(data_dir: Path, tmp_path: Path) -> None:
    splits = few(load_mnist(data_dir, flat=False, shift=1, limit=256))
    found = lenet5.job(0, splits, tmp_path, quick=True)
    assert found["groups"] == round(lenet5.SHARES[-1] * found["nonzero"]["fc1"])
    assert found["network"] > 2
    assert network_tables.widths(found["cuts"], found["groups"]).startswith(f"20-50-{found['nonzero']['fc1']} (→ ")


def test_the_curve_runs_one_method(data_dir: Path, tmp_path: Path) -> None:
    splits = load_mnist(data_dir, shift=1, limit=512)
    found = curve.job("magnitude of rows", 0, splits, tmp_path, Budget(press=1, retrain=1), 1)
    sizes = [point["network"] for point in found["points"]]
    assert sizes == sorted(sizes)
    assert len(sizes) >= 8
    assert pictures.mean_curves([found])["magnitude of rows"][0][0] == pytest.approx(sizes[0])


@pytest.mark.filterwarnings("ignore:no zero rows and no bit-equal rows")  # without a penalty and ties
def test_table_1_runs_the_recipes_and_the_study_of_ties_their_networks(
    data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = ["--quick", "--data", str(data_dir), "--work", str(tmp_path)]
    for row in ("none", "GrOWL + l2"):
        table1.main([*given, "--only", row])
    tmp_path = tmp_path / "quick"  # quick runs have a folder of their own
    found = table1.job("GrOWL + l2", 0, tmp_path, data_dir, quick=True)
    assert found["groups"] == found["steps"]["groups"] == 32
    assert found["steps"]["compression"] == pytest.approx(24.5)
    assert found["strength"] == 0.4
    assert found["once"]["groups"] != 32
    for row, seed in (("group lasso + l2", 0), ("GrOWL + l2", 1)):
        with pytest.raises(SystemExit, match="table1 first"):
            ties.job(row, seed, tmp_path, data_dir)
    monkeypatch.setattr(ties, "GROUPS", (24,))
    ways = ties.job("GrOWL + l2", 0, tmp_path, data_dir, quick=True)
    assert ways[0]["groups"] == 24
    assert {each["how"] for each in ways} == {"at once", "affinity propagation", "Ward at once", "steps"}


def test_one_strength_trains_only_what_is_left(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    splits = load_digits_splits()
    name = "digits, transformer (AdamW)"

    def job() -> tuple[dict[str, Any], list[str]]:
        found = one_strength.job(name, "GrOWL", 0, splits, tmp_path, tmp_path, 50)
        return {**found, "seconds": 0}, re.findall(r"(\w+)-0: \d+ of", capsys.readouterr().out)

    found, trained = job()
    assert list(dict.fromkeys(trained)) == ["dense", "GrOWL", "small"]
    assert found["strength"] == 1.5
    assert found["compact"] > 0.2  # ten classes
    assert job() == (found, [])
    next(tmp_path.glob("*-small-0.pt")).unlink()
    again, trained = job()
    assert again == found
    assert trained == ["small"] * len(trained)
    assert trained


def test_trainings_to_targets_run_and_record_the_size_of_the_compact_network(tmp_path: Path) -> None:
    found = targets.landing("digits, 64-300-100-10", "AdamW", tg.Target(macs=0.2), 0, tmp_path, 40)
    assert found["compact"] == found["counted"] <= found["asked"] == 0.2 * found["dense"]
    assert found["accuracy"] > 0.3  # ten classes
    found = targets.budget("digits, 64-300-100-10", "trained", 20, 0, tmp_path, 100)
    assert found["reached"]
    assert found["without"] > 0.8


def test_trainings_in_one_step_run_with_ties_and_without(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one_step.main(["--quick", "--data", str(tmp_path)])
    said = capsys.readouterr().out
    assert [said.count(f" {ties} {{") for ties in ("no ties", "0 ties")] == [1, 1]
    found = one_step.training("digits, 64-300-100-10", "AdamW", 0.1, True, 0, tmp_path, 40)
    assert found["compact"] == found["counted"] <= found["asked"]


def test_trainings_to_half_of_their_latency_are_timed_and_one_that_is_refused_is_recorded(tmp_path: Path) -> None:
    wide = replace(latency_target.QUICK["64-2000-1000-10"], build=lambda: digits_mlp(hidden=(800, 800)), steps=20)
    at = (wide, "eager", 32, tmp_path, tmp_path / "small.safetensors")
    found = {"network": "wide", **latency_target.trained(*at)}
    assert found["reached"]
    assert found["weights"] < 1
    assert "refused" not in found
    found |= latency_target.timed(*at, timings=1)
    assert latency_target.middle(found) == found["compact_ms"] / found["dense_ms"] < 0.9
    off, over = latency_target.targets([{**found, "timed": [0.48], "asked": 0.5}])
    assert (off["worst"], over["worst"], off["met"], over["met"]) == (0.04, 0.96, True, True)
    narrow = replace(wide, build=lambda: digits_mlp(hidden=(8, 8)))
    refused = latency_target.trained(narrow, *at[1:])
    assert "are left" in refused["refused"]
    assert latency_target.targets([{"network": "narrow", **refused}])[0]["of"] == 0


def test_trainings_with_a_path_run_in_every_way(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from_path.main(["--quick", "--data", str(tmp_path)])
    said = capsys.readouterr().out
    assert [said.count(f"'way': '{way}'") for way in from_path.WAYS] == [1, 1, 1]
    assert "'reached': False" not in said
    assert "nothing kept" in said


def test_an_example_of_a_task_is_run_by_the_command_and_its_record_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fields = {"task": "regression", "metric": {}, "score": {}, "target": {"left": 1}, "parameters": {}, "macs": {}}
    commands = []

    def growl(command: list[str], **how: Any) -> None:
        commands.append(command[1:])
        (tmp_path / "regression").mkdir()
        (tmp_path / "regression" / "result.json").write_text(json.dumps({**fields, "more": 1}))

    monkeypatch.setattr(task_examples.subprocess, "run", growl)
    found = [task_examples.run("regression", tmp_path / "regression", ["dense.epochs=1"]) for _ in range(2)]
    assert found[0] == found[1]
    assert {field: found[0][field] for field in fields} == fields
    assert commands == [
        [*["-m", "torch_growl", "run", "examples/tasks/regression.yaml", "--out"], str(tmp_path / "regression"),
         "--set", "dense.epochs=1"]
    ]  # fmt: skip


def test_resnet20_runs_and_goes_on_from_what_is_there(
    cifar10: Path, data_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = data_dir.parent / "pretrained"
    if not weights.is_dir():
        pytest.skip(f"no pretrained weights in {weights}")
    given = ["--quick", "--data", str(cifar10), "--weights", str(weights), "--work", str(tmp_path), "--epochs", "1"]
    for way in ([], ["--inner", "--balance", "1"], ["--shrink", "--crops", "1", "--goal", "2"]):
        resnet20.main([*given, "--goal", "1.0", *way])
        assert "nothing kept" in capsys.readouterr().out
    (tmp_path / "quick" / "teacher.pt").unlink()  # nothing is left to be taught
    resnet20.main([*given, "--goal", "1.0"])
    assert not (tmp_path / "quick" / "teacher.pt").exists()


def test_half_a_resnet_is_trained_beside_its_peers(cifar10: Path, tmp_path: Path) -> None:
    given = ["--quick", "--data", str(cifar10), "--work", str(tmp_path), "--epochs", "6"]
    for _ in range(2):  # the second time everything is there
        halves.main(given)
    done = json.loads((tmp_path / "quick" / "done.json").read_text())
    ours = ("tg.shrink", "tg.shrink, in steps", "tg.Target")
    assert done.keys() >= {f"{method}, seed 0, lr 0.05, 6 epochs" for method in ours}
    for one in done.values():
        assert 0.3 < one["macs"] <= 0.5
        assert one["accuracy"]["test"] == pytest.approx((one["accuracy"]["even"] + one["accuracy"]["odd"]) / 2)


def test_a_quarter_of_the_weights_is_trained_beside_a_control(tmp_path: Path) -> None:
    for _ in range(2):  # the second time everything is there
        quarters.main(["--quick", "--work", str(tmp_path)])
    done = json.loads((tmp_path / "quick" / "done.json").read_text())
    assert [one["way"] for one in done.values()] == list(quarters.WAYS)
    assert [one["weights"] <= 0.25 for one in done.values()] == [False, *[True] * 5]


def test_table_2_runs_in_pieces_and_needs_a_gpu_or_a_word(
    cifar10: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = str(cifar10)
    if not torch.cuda.is_available():
        with pytest.raises(SystemExit):
            table2.main(["--data", folder])
        assert "no CUDA device" in capsys.readouterr().err
    given = [
        "--quick",
        "--data",
        folder,
        "--work",
        str(tmp_path),
        "--only",
        "GrOWL as it comes",
        "--only",
        "GrOWL, a quarter of the MACs",
        "--only",
        "GrOWL + l2",
    ]
    table2.main([*given, "--minutes", "0"])
    assert "the same command goes on" in capsys.readouterr().out
    table2.main([*given, "--minutes", "9"])
    assert "these rows are done" in capsys.readouterr().out
    kept = [json.loads(path.read_text(encoding="utf-8")) for path in sorted((tmp_path / "quick").glob("*.json"))]
    assert {each["row"] for each in kept} == {"GrOWL as it comes", "GrOWL, a quarter of the MACs", "GrOWL + l2"}
    assert all(each["network"] >= 0.99 for each in kept)


def test_the_short_table_2_runs_and_is_found_again(cifar10: Path, tmp_path: Path) -> None:
    for _ in range(2):  # the second time everything is there
        table2_short.main(["--quick", "--data", str(cifar10), "--work", str(tmp_path)])
    kept = json.loads((tmp_path / "quick" / "done.json").read_text(encoding="utf-8"))
    assert list(kept) == list(table2_short.ROWS)
    assert kept["none"]["compression"] == 1.0
    assert kept["tg.shrink"]["compression"] > 14
    for row in ("group lasso + l2", "GrOWL + l2"):
        assert kept[row]["compression"] > 1.5
        assert kept[row]["path"][-1]["network"] >= 2.0
