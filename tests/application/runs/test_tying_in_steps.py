"""Tying in several steps: trainings between, compact form, distillation; a stopped run ends the same when resumed."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tests.support.digits_run import QUICK, run_digits
from torch_growl.application.recipes import load_recipe
from torch_growl.application.reports.report import make_report
from torch_growl.application.runs.run import Run
from torch_growl.errors import GrowlError, GrowlWarning
from torch_growl.networks.layers import rows_of
from torch_growl.networks.measurement.counts import measure
from torch_growl.networks.tying import existing_tying, tie_, untie_

PHASE = {"epochs": 1, "lr": 0.05}
STEPS: dict[str, Any] = {  # a strength, on the images as they are
    "data.options": {},
    "model.options": {},
    "growl.strength": 1.5,
    "growl.sequence": {"name": "pld", "p": 0.3, "floor": 0.85},
    "dense.epochs": 3,
    "train.epochs": 3,
    "tying": {"method": "ward", "groups": {"fc1": [40, 24], "fc2": [0.5, 40]}},
    "merge": PHASE,
    "retrain": {**PHASE, "form": "compact", "distill": 0.5},
    "measure.repeats": 3,
    "threads": 1,
}


def n_rows(run: Run, name: str) -> int:
    """Nonzero rows of a layer after the training with the penalty."""
    return existing_tying(run.trained("train"), [name])[name].partition.nonzero


@pytest.mark.slow
@pytest.mark.parametrize("form", ["tied", "compact"])
def test_a_run_in_steps_ends_at_the_groups_asked_for(tmp_path: Path, form: str) -> None:
    run = run_digits(tmp_path / "run", {**STEPS, "retrain": {**PHASE, "form": form}})
    tying = run.tying()
    assert (tying["fc1"].partition.n_groups, tying["fc2"].partition.n_groups) == (24, 40)
    assert tuple(run.recipe.trainings) == ("dense", "train", "merge1", "retrain")
    merged = existing_tying(run.grouped(), run.layers)  # after the first of two steps
    assert (merged["fc1"].partition.n_groups, merged["fc2"].partition.n_groups) == (40, round(0.5 * n_rows(run, "fc2")))
    model = run.trained("retrain")
    rows = model.get_submodule("fc1").weight.detach().T  # type: ignore[union-attr, operator]
    labels = torch.tensor(tying["fc1"].partition.labels)
    for group in range(24):
        assert (rows[labels == group] == rows[labels == group][0]).all()  # bit-equal
    small = run.compacted().eval()
    x, _ = run.splits.test.batch(torch.arange(64))  # type: ignore[attr-defined]
    assert (small(x).argmax(1) == model(x).argmax(1)).all()
    assert measure(small, x[:2], latency=False).weights < measure(run.network(), x[:2], latency=False).weights / 2
    page = make_report(run.folder.path).read_text(encoding="utf-8")
    assert "dense 3, train 3, merge1 1, retrain 1" in page


def without_bias(*, width: int = 40) -> nn.Module:
    """A network whose second layer has no bias, and gets a constant from a filter of zeros before it."""
    return nn.Sequential(nn.Linear(64, width), nn.Sigmoid(), nn.Linear(width, 10, bias=False))


@pytest.mark.slow
@pytest.mark.parametrize("drop", [None, 50.0], ids=["all steps", "the last good step"])
def test_a_layer_without_bias_that_takes_constants_is_trained_compact_in_steps(
    tmp_path: Path, drop: float | None
) -> None:
    changes = {
        **STEPS,
        "model": {"name": f"{__name__}:without_bias"},
        "growl.layers": ["0"],
        "growl.side": "output",
        "tying": {"method": "ward", "groups": {"0": [0.8, 0.6]}, "drop": drop},
        "growl.strength": 4.0,
        "retrain": {**PHASE, "form": "compact"},
    }
    del changes["model.options"]
    run = run_digits(tmp_path / "run", changes)
    model, small = run.trained("retrain"), run.compacted().eval()
    filters = model.get_submodule("0").weight
    assert 0 < int((filters != 0).any(dim=1).sum()) < 40  # type: ignore[union-attr, operator, arg-type]
    assert small.get_submodule("2").bias is not None  # the constants
    x, _ = run.splits.test.batch(torch.arange(64))  # type: ignore[attr-defined]
    torch.testing.assert_close(small(x), model(x))
    dense = without_bias()
    assert dense.load_state_dict(run.grouped().state_dict(), strict=False).missing_keys == []


@pytest.mark.slow
def test_steps_by_least_squares_end_at_the_groups_asked_for_with_less_lost_by_a_tie(tmp_path: Path) -> None:
    lost = []
    for method in ("least-squares", "ward"):
        run = run_digits(tmp_path / method, {**STEPS, "tying.method": method, "tying.compensate": True}, until="tie")
        tying = run.tying()
        assert (tying["fc1"].partition.n_groups, tying["fc2"].partition.n_groups) == (24, 40)
        assert existing_tying(run.grouped(), ["fc1"])["fc1"].partition == tying["fc1"].partition
        x, _ = run.splits.test.batch(torch.arange(200))  # type: ignore[attr-defined]
        with torch.no_grad():
            wanted = run.trained("train")(x)
            lost.append(float((run.grouped()(x) - wanted).square().mean()))
    assert lost[0] < lost[1]


@pytest.mark.slow
def test_retraining_in_compact_form_ends_at_the_network_of_tied_retraining(tmp_path: Path) -> None:
    tied, compact = (
        run_digits(tmp_path / form, {**QUICK, "retrain.epochs": 2, "retrain.form": form}, until="retrain")
        for form in ("tied", "compact")
    )
    assert tied.tying() == compact.tying()
    assert max(max(layer.partition.sizes) for layer in tied.tying()) > 3
    x, _ = tied.splits.test.batch(torch.arange(64))  # type: ignore[attr-defined]
    with torch.no_grad():
        before, wanted, found = (
            model.eval()(x) for model in (tied.grouped(), tied.trained("retrain"), compact.trained("retrain"))
        )
    assert float((wanted - before).abs().max()) > 0.1
    torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-3)


@pytest.mark.slow
def test_a_run_in_steps_that_is_stopped_between_them_ends_the_same(tmp_path: Path) -> None:
    whole = run_digits(tmp_path / "whole", STEPS)
    stopped = run_digits(tmp_path / "stopped", STEPS, until="tie")
    stopped.folder.tying_file.unlink()
    (stopped.folder.checkpoints / "grouped.pt").unlink()
    stopped = run_digits(tmp_path / "stopped", STEPS)
    assert stopped.tying() == whole.tying()
    ours, theirs = (run.trained("retrain").state_dict() for run in (stopped, whole))
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)


@pytest.mark.slow
def test_tying_again_drops_what_the_steps_made(tmp_path: Path) -> None:
    run = run_digits(tmp_path / "run", STEPS, until="retrain")
    run.folder.drop_from("tie")
    assert {path.name for path in run.folder.checkpoints.glob("*.pt")} == {"dense.pt", "train.pt"}


@pytest.mark.slow
def test_tied_rows_are_fitted_before_retraining_and_a_run_that_is_stopped_there_ends_the_same(tmp_path: Path) -> None:
    short = {**QUICK, "dense.epochs": 2, "train.epochs": 4, "retrain.epochs": 0}
    plain = run_digits(tmp_path / "plain", short, until="tie")
    fitted = run_digits(tmp_path / "fitted", {**short, "tying.compensate": True}, until="retrain")
    assert fitted.tying() == plain.tying()
    x, _ = fitted.splits.test.batch(torch.arange(200))  # type: ignore[attr-defined]
    with torch.no_grad():
        wanted = plain.trained("train")(x)
        averaged, ours = (untie_(tie_(run.grouped(), run.tying())).eval()(x) for run in (plain, fitted))
    assert float((ours - wanted).square().mean()) < 0.8 * float((averaged - wanted).square().mean())
    for layer in fitted.tying():
        assert layer.partition.holds(fitted.grouped().get_submodule(layer.name).weight.detach().T)  # type: ignore
    with torch.no_grad():  # without epochs retraining ends where it begins
        torch.testing.assert_close(fitted.trained("retrain")(x), ours)
    fitted.folder.tying_file.unlink()
    again = run_digits(tmp_path / "fitted", {**short, "tying.compensate": True}, until="tie")
    for name, value in fitted.grouped().state_dict().items():
        assert torch.equal(again.grouped().state_dict()[name], value)


def with_drop(drop: float, groups: list[float]) -> dict[str, Any]:
    return {**STEPS, "tying": {"method": "ward", "groups": {"fc1": groups}, "drop": drop}}


@pytest.mark.slow
@pytest.mark.parametrize(("drop", "groups"), [(5.0, 40), (100.0, 1)])
def test_the_data_decide_how_many_groups_are_left(drop: float, groups: int, tmp_path: Path) -> None:
    """One group sums all pixels, which no digit can be read from; 40 of 64 lose next to nothing."""
    run = run_digits(tmp_path / "run", with_drop(drop, [40, 1]))
    assert tuple(run.recipe.trainings) == ("dense", "train", "merge1", "merge2", "retrain")
    assert run.tying()["fc1"].partition.n_groups == groups
    assert run.folder.result()["layers"][0]["groups"] == groups
    retrained = existing_tying(run.trained("retrain"), ["fc1"])["fc1"].partition
    assert retrained.n_groups == groups
    again = run_digits(tmp_path / "run", with_drop(drop, [40, 1]), until="tie")
    again.folder.tying_file.unlink()
    assert run_digits(tmp_path / "run", with_drop(drop, [40, 1])).tying() == run.tying()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:no zero rows and no bit-equal rows")
def test_no_rows_are_tied_if_every_step_loses_too_much_and_this_is_said(tmp_path: Path) -> None:
    with pytest.warns(GrowlWarning, match="no rows are tied"):
        run = run_digits(tmp_path / "run", with_drop(1.0, [1]))
    partition = run.tying()["fc1"].partition
    assert partition.n_groups == partition.nonzero == n_rows(run, "fc1")
    assert run.folder.result()["accuracy"]["tied"] == run.folder.result()["accuracy"]["regularized"]


SHRUNK: dict[str, Any] = {
    **STEPS,
    "growl.strength": 0.0,
    "train.epochs": 0,
    "tying": {"method": "shrink", "left": {"bytes": [0.4, 0.15]}},
}


@pytest.mark.slow
def test_a_run_that_shrinks_in_steps_has_what_was_asked_for_and_ends_the_same_when_it_is_stopped(
    tmp_path: Path,
) -> None:
    run = run_digits(tmp_path / "run", SHRUNK)
    assert tuple(run.recipe.trainings) == ("dense", "train", "merge1", "retrain")
    x, _ = run.splits.test.batch(torch.arange(64))  # type: ignore[attr-defined]
    dense, small = (measure(model, x[:2], latency=False).bytes for model in (run.network(), run.compacted()))
    assert 0.14 * dense <= small <= 0.15 * dense
    partition = run.tying()["fc1"].partition
    assert partition.n_groups < partition.nonzero  # rows are tied, not removed alone
    retrained = existing_tying(run.trained("retrain"), run.layers)
    assert [layer.partition for layer in retrained] == [layer.partition for layer in run.tying()]
    assert run.folder.result()["accuracy"]["compact"] > 0.9
    assert "merge1 1, retrain 1" in make_report(run.folder.path).read_text(encoding="utf-8")
    again = run_digits(tmp_path / "again", SHRUNK, until="tie")
    again.folder.tying_file.unlink()
    (again.folder.checkpoints / "grouped.pt").unlink()
    again = run_digits(tmp_path / "again", SHRUNK, until="retrain")
    ours, theirs = (each.trained("retrain").state_dict() for each in (again, run))
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)


@pytest.mark.slow
def test_the_data_decide_how_far_a_run_shrinks(tmp_path: Path) -> None:
    """No network of 2 % of the bytes keeps all but 5 points of the accuracy, one of 40 % does."""
    tying = {"method": "shrink", "left": {"bytes": [0.4, 0.02]}, "drop": 5.0}
    run = run_digits(tmp_path / "run", {**SHRUNK, "tying": tying})
    assert tuple(run.recipe.trainings) == ("dense", "train", "merge1", "merge2", "retrain")
    x, _ = run.splits.test.batch(torch.arange(2))  # type: ignore[attr-defined]
    dense, small = (measure(model, x, latency=False).bytes for model in (run.network(), run.compacted()))
    assert 0.39 * dense <= small <= 0.4 * dense


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"tying": {"method": "affinity"}, "tying.drop": 0.5}, "drop needs method 'ward', 'least-squares' or 'shrink'"),
        ({"tying": {"method": "ward", "groups": {"fc1": [8]}, "drop": 0.5}, "merge": None}, "merge"),
        ({"tying": {"method": "ward"}}, "groups"),
        ({"tying": {"groups": {"fc1": [8]}}}, "ward"),
        ({"tying": {"method": "ward", "groups": {"fc1": [20, 10], "fc2": [5]}}, "merge": PHASE}, "steps"),
        ({"tying": {"method": "ward", "groups": {"fc1": [20, 10]}}, "merge": None}, "merge"),
        ({"train.start": "elsewhere"}, "train.start"),
    ],
)
def test_recipes_that_do_not_fit_together(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(GrowlError, match=words):
        load_recipe("digits", settings)


def test_mnist_best_shrinks_in_steps_as_far_as_the_data_allow_and_retrains_compact() -> None:
    recipe = load_recipe("mnist-best", {})
    assert recipe.tying.method == "shrink"
    assert recipe.tying_drop == 0.8
    assert all(share < 1 for share in recipe.tying.left["bytes"])
    assert recipe.retrain.form == "compact"
    assert recipe.merge is not None
    assert recipe.merge.distill > 0


def test_groups_whose_sum_does_not_pay_are_held_in_compact_form() -> None:
    """16 inputs of two outputs each: the index of a sum needs more bytes than the sum saves."""
    torch.manual_seed(0)
    dense = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 2))
    with torch.no_grad():
        dense[2].weight[:, [1, 5]] = dense[2].weight[:, [0, 4]]
        dense[0].weight[:, 2] = 0
    x = torch.randn(8, 6)
    run = SmallRun(load_recipe("digits", {"retrain.form": "compact", "tying": {"method": "affinity"}}), dense, x)
    tying = existing_tying(dense, ["0", "2"])
    small = run.with_structure(copy.deepcopy(dense), tying)
    assert small(x).shape == (8, 2)
    optimizer = torch.optim.SGD(small.parameters(), lr=0.1)
    for _ in range(5):
        optimizer.zero_grad()
        small(x).square().sum().backward()
        optimizer.step()
    trained = run.plain(small)
    assert not torch.equal(trained[2].weight, dense[2].weight)  # type: ignore[index, union-attr, arg-type]
    for layer in tying:
        assert layer.partition.holds(rows_of(trained.get_submodule(layer.name), "input")), layer.name


class SmallRun(Run):
    """A run of one small network without a folder."""

    def __init__(self, recipe: Any, dense: nn.Module, x: torch.Tensor) -> None:
        self.recipe, self._dense, self._x = recipe, dense, x

    def example(self) -> torch.Tensor:
        return self._x

    def network(self) -> nn.Module:
        return copy.deepcopy(self._dense)
