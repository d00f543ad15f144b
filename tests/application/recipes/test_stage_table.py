"""The table of stages: one order for the run folder, the training, the report and the command."""

from __future__ import annotations

import pytest

from torch_growl.application.recipes import load_recipe
from torch_growl.application.recipes.stage_table import (
    ACCURACIES,
    STAGE_NAMES,
    STAGES,
    files_from,
    title_of,
    training_rank,
    training_seed,
)
from torch_growl.errors import InvalidValueError

IN_ORDER = ["dense", "train", "merge1", "merge2", "merge10", "retrain"]


def test_stages_and_accuracies_are_in_the_order_of_a_run() -> None:
    assert STAGE_NAMES == ("train", "tie", "retrain", "compact", "eval")
    assert ACCURACIES == ("dense", "regularized", "tied", "retrained", "compact")


def test_trainings_are_sorted_as_they_are_run() -> None:
    assert sorted(sorted(IN_ORDER, reverse=True), key=training_rank) == IN_ORDER


def test_the_seeds_of_trainings_are_those_that_published_figures_were_made_with() -> None:
    seeds = {name: training_seed(name) for name in IN_ORDER}
    assert seeds == {"dense": 0, "train": 1, "retrain": 2, "merge1": 4, "merge2": 5, "merge10": 13}


def test_the_trainings_of_every_recipe_are_in_the_table_s_order() -> None:
    for name in ("digits", "mnist-best"):
        trainings = list(load_recipe(name).trainings)
        assert trainings == sorted(trainings, key=training_rank)
    assert trainings == ["dense", "train", "merge1", "merge2", "merge3", "merge4", "retrain"]


def test_doing_a_stage_again_drops_its_files_and_those_of_later_stages() -> None:
    assert files_from("compact") == [
        *("model.safetensors", "model.onnx", "model.pt2", "model.pte", "latency.json"),
        *("result.json", "report.html"),
    ]
    assert files_from("train") == [pattern for stage in STAGES for pattern in stage.files]
    with pytest.raises(InvalidValueError, match="stage must be 'train', .* or 'eval', got 'dense'"):
        files_from("dense")


def test_trainings_and_stages_have_titles() -> None:
    assert title_of("train") == "train with GrOWL"
    assert title_of("merge2") == title_of("merge1") == "train between two steps of tying"
    assert title_of("eval") == "test, measure, check"
