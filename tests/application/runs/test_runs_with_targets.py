"""Runs with a target: what is left is that of the real compact network, and is said; a resumed run ends the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.support.digits_run import figures
from tests.support.growl_command import growl
from torch_growl.application.recipes import load_recipe
from torch_growl.application.reports import make_report
from torch_growl.application.runs.listeners import Silent
from torch_growl.application.runs.run import Run
from torch_growl.application.runs.run_folder import RunFolder
from torch_growl.application.runs.stages import do_stages
from torch_growl.application.training.processes import Sharding
from torch_growl.errors import InvalidValueError
from torch_growl.networks.measurement import measure
from torch_growl.networks.paths import PruningPath
from torch_growl.networks.penalty import GrOWL
from torch_growl.networks.targets import Target, layer_timings

AIMED: dict[str, Any] = {
    "dense.epochs": 1,
    "train.epochs": 8,
    "retrain.epochs": 1,
    "target": {"weights": 0.3},
    "tying": {"method": "none"},
    "measure.repeats": 3,
    "threads": 1,
}


def run_to(path: Path, settings: dict[str, Any], watcher: Silent | None = None) -> Run:
    folder = RunFolder(path)
    folder.create(load_recipe("digits", settings), resume=True)
    run = Run(folder, watcher=watcher)
    do_stages(run)
    return run


@pytest.fixture(scope="module")
def aimed(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return run_to(tmp_path_factory.mktemp("aimed") / "run", AIMED)


@pytest.mark.slow
def test_what_is_left_is_that_of_the_compact_network_and_of_the_count(aimed: Run) -> None:
    target = aimed.folder.result()["target"]
    small = measure(aimed.compacted(), aimed.example(), latency=False)
    assert target["left"] == small.weights == target["pruned"]
    assert 0.97 * target["asked"] < target["left"] <= target["asked"] == 0.3 * target["dense"]
    assert (target["of"], target["reached"], target["why"]) == ("weights", True, None)
    records = [json.loads(line) for line in aimed.folder.metrics_file.read_text().splitlines()]
    trained = [record["target"] for record in records if record["stage"] == "train"]
    assert len(trained) == 8
    assert [each["phase"] for each in trained][-3:] == ["holding"] * 3
    assert trained[0]["left"] > trained[-1]["left"] == target["left"]
    assert all("target" not in record for record in records if record["stage"] != "train")
    assert {record["penalty"] for record in records} == {None}


@pytest.mark.slow
def test_the_report_says_that_the_target_is_reached(aimed: Run) -> None:
    target = aimed.folder.result()["target"]
    page = make_report(aimed.folder.path).read_text("utf-8")
    assert f"target reached: {target['left']:,} of {target['dense']:,} weights are left" in page


@pytest.mark.slow
@pytest.mark.parametrize("epoch", [2, 6])  # before and after the rows have gone
def test_a_run_that_is_killed_on_the_way_to_a_target_ends_the_same(epoch: int, aimed: Run, tmp_path: Path) -> None:
    class Killed(Exception):
        pass

    class Killer(Silent):
        now = ""

        def stage(self, name: str, epochs: int, epoch: int) -> None:
            self.now = name

        def step(self, at: int, step: int, steps: int, loss: float) -> None:
            if (self.now, at) == ("train", epoch):
                raise Killed

    with pytest.raises(Killed):
        run_to(tmp_path / "run", AIMED, Killer())
    again = run_to(tmp_path / "run", AIMED)
    assert figures(again.folder.result()) == figures(aimed.folder.result())
    weights = (run.trained("train").state_dict() for run in (again, aimed))
    assert all(torch.equal(a, b) for a, b in zip(*(state.values() for state in weights), strict=True))


@pytest.mark.slow
def test_the_command_takes_a_target_and_says_what_is_left_with_and_without_ties(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    few = ["dense.epochs=1", "train.epochs=4", "retrain.epochs=1", "tying={method: ward, groups: {fc1: [0.5]}}"]
    few += ["merge=null", "data.options={}", "model.options={}"]
    settings = [part for setting in (*few, "measure.repeats=3") for part in ("--set", setting)]
    out = tmp_path / "run"
    status, shown, err = growl(capsys, "run", "digits", "--out", str(out), "--target", "bytes=80000", *settings)
    assert (status, err) == (0, "")
    result = RunFolder(out).result()
    target = result["target"]
    assert target["left"] == result["bytes_held"]["compact"] < target["pruned"] <= target["asked"] == 80_000
    said = " ".join(shown.split())
    assert f"target reached: {target['left']:,} of {target['dense']:,} bytes are left (" in said
    assert f"; {target['pruned']:,} (" in said
    assert "before tying" in said
    assert "% left, 38.3 % asked" in said
    table = shown[: shown.index("dense ")].splitlines()  # before the first training
    assert table[0].split() == ["can", "be", "left", "at", "least", "at", "most,", "below"]
    assert [line.split()[0] for line in table[1:5]] == ["weights", "macs", "bytes", "file_bytes"]
    assert table[3].split()[-1] == f"{target['dense']:,}"
    assert int(table[3].split()[1].replace(",", "")) < 1_000


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:the target is not reached")  # on a busy machine
def test_the_command_takes_a_latency_and_times_the_compact_network_at_the_end(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layer_timings, "_SECONDS", 0.03)  # of each measurement
    few = [
        "dense.epochs=1",
        "train.epochs=2",
        "retrain.epochs=1",
        "tying.method=none",
    ]
    settings = [part for setting in (*few, "measure.repeats=3", "threads=1") for part in ("--set", setting)]
    out, asked = tmp_path / "run", ["--target", "latency_ms=0.5", "--target", "batch=512"]
    status, shown, err = growl(capsys, "run", "digits", "--out", str(out), *asked, *settings)
    assert status == 0, err
    target = RunFolder(out).result()["target"]
    assert (target["of"], target["dense"] * 0.5) == ("latency_ms", pytest.approx(target["asked"], rel=1e-3))
    assert 0.5 < target["left"] / target["asked"] < 1.5  # a busy machine's times
    assert target["reached"] == (target["left"] <= 1.05 * target["asked"])
    assert "ms are left" in " ".join(shown.split())
    status, _, err = growl(capsys, "run", "digits", "--out", str(tmp_path / "small"), "--target", "latency_ms=0.01")
    assert (status, len(err.strip().splitlines())) == (2, 1)
    assert "latency_ms are left" in err


def test_a_target_that_cannot_be_met_is_refused_before_anything_is_written(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for wrong, words in [
        ("macs=0.00001", "target: at least"),
        ("macs=600000", "must be less than the dense network's"),
    ]:
        status, _, err = growl(capsys, "run", "digits", "--out", str(tmp_path / "run"), "--target", wrong)
        assert (status, len(err.strip().splitlines())) == (2, 1)
        assert words in err
        assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("target", "size", "batches"),
    [
        ({"weights": 0.3}, 64, 10),  # 640 examples
        ({"macs": 0.3}, 8, 80),
        ({"bytes": 0.3}, 128, 8),
        ({"bytes": 0.3, "compensate": True}, 128, 8),
        ({"weights": 0.3, "compensate": False}, 128, 0),
        ({"weights": 0.3}, 2000, 0),  # one batch: none could be held out
        ({"file_bytes": 0.3}, 128, 0),
        ({"file_bytes": 0.3, "compensate": True}, 128, 8),
    ],
)
def test_rows_of_a_counted_target_go_in_one_step_by_default(
    target: dict[str, Any], size: int, batches: int, tmp_path: Path
) -> None:
    recipe = load_recipe("digits", {**AIMED, "target": target, "train.batch_size": size, "train.epochs": 40})
    run = Run(RunFolder(tmp_path), recipe)
    penalty = run.penalty(run.network())
    assert penalty is not None
    assert penalty._control is not None
    found = penalty._control.target.compensate
    if batches:
        assert isinstance(found, list)
        assert len(found) == batches
        assert sum(len(batch) for batch in found) >= 640
    else:
        assert found is False


def test_sharded_weights_shrink_slowly_and_are_not_fitted(tmp_path: Path) -> None:
    run = Run(RunFolder(tmp_path), load_recipe("digits", {**AIMED, "target": {"weights": 0.3, "compensate": True}}))
    plain = Run(RunFolder(tmp_path), load_recipe("digits", AIMED))
    for each in (run, plain):
        each._sharding = Sharding()
    penalty = plain.penalty(plain.network())
    assert penalty is not None
    assert "compensate=False" in repr(penalty)
    with pytest.raises(
        InvalidValueError, match=r"target\.compensate and target\.ties fit whole weights, and FSDP2 shards them"
    ):
        run.penalty(run.network())


def test_a_training_that_is_too_short_for_a_target_is_refused(tmp_path: Path) -> None:
    recipe = load_recipe("digits", {**AIMED, "train.epochs": 1, "train.batch_size": 100})
    with pytest.raises(
        InvalidValueError, match=r"train.epochs = 1 and train.batch_size = 100 make 12 optimizer steps.*20"
    ):
        Run(RunFolder(tmp_path), recipe).check_task()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:the target is not reached")  # by pruning alone, in so short a training
def test_an_accuracy_drop_is_compared_with_what_pruning_and_tying_have_lost(tmp_path: Path) -> None:
    settings = {
        **AIMED,
        "dense.epochs": 4,
        "train.epochs": 25,
        "target": {"accuracy_drop": 4.0},
        "tying": {"method": "ward", "groups": {"fc1": [0.8, 0.02]}, "drop": 30.0},
        "merge": {"epochs": 8, "lr": 0.02},
        "retrain.epochs": 3,
    }
    run = run_to(tmp_path / "run", settings)
    target = run.folder.result()["target"]
    dense, small = (run.validation_score(network) for network in (run.trained("dense"), run.compacted()))
    assert (target["of"], target["asked"], target["dense"]) == ("accuracy_drop", 4.0, dense)
    assert target["left"] == pytest.approx(dense - small)
    assert target["reached"] == (target["left"] <= 4.0)
    merged = run.validation_score(run.grouped())  # the network whose ties were taken
    assert dense - merged <= 30.0
    records = [json.loads(line) for line in run.folder.metrics_file.read_text().splitlines()]
    trained = [record["target"] for record in records if record["stage"] == "train"]
    assert trained[0]["reference"] in (None, dense)
    assert trained[-1]["asked"] == 2.0  # half of it is for ties
    assert trained[-1]["left"] < trained[-1]["dense"]
    path = PruningPath.load(run.folder.path_file)
    assert path.reference == dense
    assert [point.step for point in path.points] == sorted(point.step for point in path.points)
    model = run.network()
    model.load_state_dict(run.trained("dense").state_dict())
    left = min(point.weights for point in path.points)
    GrOWL(model, target=Target(weights=left), example_inputs=run.example(), path=path, min_rows=4)  # goes on from there
    penalty = run.penalty(run.network(), run.trained("dense"))
    assert penalty is not None
    assert penalty._control is not None
    p, n = dense / 100, len(run.splits.validation)  # type: ignore[arg-type]
    assert penalty._control.target.standard_error == pytest.approx(100 * (p * (1 - p) / n) ** 0.5, rel=0.4)
    assert "points of validation accuracy are lost, at most 4 were allowed" in make_report(run.folder.path).read_text()


@pytest.mark.slow
def test_rows_that_the_target_ties_stay_tied_to_the_end_and_are_counted(tmp_path: Path) -> None:
    target = {"weights": 0.05, "ties": True}
    run = run_to(tmp_path / "run", {**AIMED, "target": target, "measure.batch_sizes": [1]})
    found = run.folder.result()["target"]
    small = measure(run.compacted(), run.example(), latency=False)
    assert found["left"] == small.weights == found["pruned"] <= found["asked"]
    records = [json.loads(line) for line in run.folder.metrics_file.read_text().splitlines()]
    rows = [record["layers"]["fc1"] for record in records if record["stage"] in ("train", "retrain")]
    assert rows[0]["distinct"] == rows[0]["nonzero"]
    assert rows[-1]["distinct"] < rows[-1]["nonzero"]
    assert rows[-1] == rows[-2]
    assert run.tying()["fc1"].partition.n_groups == rows[-1]["distinct"]
