"""Sentences about accuracy: the stage that lost the most is named with what to change; so is a sudden fall."""

from __future__ import annotations

from typing import Any

import pytest

from torch_growl.application.recipes import load_recipe
from torch_growl.application.reports.accuracy_notes import accuracy_steps, collapse, loss_note
from torch_growl.application.tasks import Metric

RMSE, IOU = Metric("RMSE", False, "mm"), Metric("mean IoU", True, "%")


def accuracies(**changed: float | None) -> dict[str, float | None]:
    names = ("dense", "regularized", "tied", "retrained", "compact")
    return {**dict.fromkeys(names, 0.97), **changed}


def test_every_stage_has_its_difference_in_points() -> None:
    found = accuracies(regularized=0.95, tied=None, retrained=0.96, compact=0.96)
    assert (
        accuracy_steps(found)
        == "dense 97.0 % → regularized 95.0 % (−2.0) → retrained 96.0 % (+1.0) → compact 96.0 % (+0.0)"
    )
    assert accuracy_steps({"dense": None}) == ""


@pytest.mark.parametrize(
    ("found", "settings", "said"),
    [
        (
            accuracies(regularized=0.93, retrained=0.93, compact=0.93),
            {"growl.strength": 3.0, "train.epochs": 7},
            "4.0 points less accurate than the dense one; the training with the penalty lost 4.0 points: "
            "lower growl.strength (now 3), or train longer (train.epochs, now 7)",
        ),
        (
            accuracies(regularized=0.98, tied=0.5, retrained=0.94, compact=0.94),
            {"tying": {"method": "affinity", "preference": 0.4}, "retrain.epochs": 2},
            "3.0 points less accurate than the dense one; tying, which retraining did not regain, lost 4.0 points: "
            "raise tying.preference (now 0.4), or retrain longer (retrain.epochs, now 2)",
        ),
        (
            accuracies(regularized=0.98, tied=0.5, retrained=0.94, compact=0.94),
            {"tying": {"method": "shrink", "left": {"macs": [0.1]}}, "merge": None, "retrain.epochs": 2},
            "lost 4.0 points: leave more (tying.left), or retrain longer (retrain.epochs, now 2)",
        ),
        (
            accuracies(compact=0.9),
            {"compact.dtype": "int8"},
            "7.0 points less accurate than the dense one; storing the weights as int8 lost 7.0 points: "
            "choose a wider compact.dtype",
        ),
        (
            accuracies(regularized=0.93, retrained=0.93, compact=0.93),
            {"target": {"macs": 0.1, "ties": True}},
            "the training with the penalty lost 4.0 points: ask for less (target: macs=0.1), or train longer",
        ),
        (
            accuracies(regularized=0.9, retrained=0.9, compact=0.9),
            {"growl.strength": 0.0},
            "the second training (train) lost 7.0 points: train longer",
        ),
    ],
)
def test_the_part_that_lost_the_most_is_named_with_the_fields_to_change(
    found: dict[str, float | None], settings: dict[str, Any], said: str
) -> None:
    assert said in loss_note(found, load_recipe("digits", settings))


def test_a_run_that_loses_a_point_or_less_has_no_note() -> None:
    recipe = load_recipe("digits", {})
    assert loss_note(accuracies(), recipe) == ""
    assert loss_note(accuracies(regularized=0.8, retrained=0.965, compact=0.965), recipe) == ""
    assert loss_note(accuracies(compact=None), recipe) == ""


def records(*validation: float, losses: tuple[float, ...] = ()) -> list[dict[str, Any]]:
    values = losses or (0.3,) * len(validation)
    return [
        {"stage": "train", "epoch": n, "validation_accuracy": value, "loss": loss}
        for n, (value, loss) in enumerate(zip(validation, values, strict=True), start=1)
    ]


def test_a_fall_with_a_smooth_loss_is_named_with_both_epochs() -> None:
    note = collapse(records(0.9, 0.96, 0.28, 0.95, 0.2))
    assert note.startswith("stage train: the validation accuracy fell to 28.0 % in epoch 3, from 96.0 % in epoch 2")
    assert "(0.3, then 0.3)" in note
    assert collapse(records(0.9, 0.96, 0.28)) == note


@pytest.mark.parametrize(
    "found",
    [
        [],
        records(0.1),
        records(0.5, 0.6, 0.45, 0.7),  # the noise of an early epoch
        records(0.9, 0.3, losses=(0.3, 2.0)),  # the loss shows it
        records(0.1, 0.2, 0.5, 0.9),
    ],
)
def test_noise_and_falls_that_the_loss_shows_have_no_note(found: list[dict[str, Any]]) -> None:
    assert collapse(found) == ""


def test_an_error_has_its_steps_and_its_note_in_its_own_direction() -> None:
    found = accuracies(**dict.fromkeys(("dense", "regularized", "tied", "retrained", "compact"), 50.0))
    worse = {**found, "regularized": 54.0, "retrained": 53.0, "compact": 53.0}
    assert accuracy_steps(worse, RMSE).startswith("dense 50.0 mm → regularized 54.0 mm (+4.0) → tied 50.0 mm (−4.0)")
    note = loss_note(worse, load_recipe("digits"), RMSE)
    assert note.startswith("the RMSE of the compact network is 53.00 mm, 3.00 mm above that of the dense one; ")
    assert "the training with the penalty lost 4.00 mm: " in note
    better = {**found, "regularized": 30.0, "retrained": 30.0, "compact": 30.0}
    assert loss_note(better, load_recipe("digits"), RMSE) == loss_note(found, load_recipe("digits"), RMSE) == ""


def test_another_share_is_named_in_points() -> None:
    note = loss_note(accuracies(compact=0.9), load_recipe("digits"), IOU)
    assert note.startswith("the mean IoU of the compact network is 90.00 %, 7.00 points below that of the dense one; ")


def test_an_error_that_doubles_with_a_smooth_loss_is_named() -> None:
    note = collapse(records(50.0, 40.0, 90.0, 95.0), RMSE)
    assert note.startswith("stage train: the validation RMSE rose to 90.0 mm in epoch 3, from 40.0 mm in epoch 2")
    assert collapse(records(50.0, 40.0, 70.0, 20.0), RMSE) == ""
