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
    training_seed,
)
from torch_growl.errors import InvalidValueError

IN_ORDER = ["dense", "train", "merge1", "merge2", "merge10", "retrain"]


def test_stages_and_accuracies_are_in_the_order_of_a_run() -> None:
    assert STAGE_NAMES == ("train", "tie", "retrain", "compact", "eval")
    assert ACCURACIES == ("dense", "regularized", "tied", "retrained", "compact")


def test_the_seeds_of_trainings_are_those_that_published_figures_were_made_with() -> None:
    seeds = {name: training_seed(name) for name in IN_ORDER}
    assert seeds == {"dense": 0, "train": 1, "retrain": 2, "merge1": 4, "merge2": 5, "merge10": 13}


def test_the_trainings_of_every_recipe_are_in_the_table_s_order() -> None:
    for name in ("digits", "mnist-best"):
        trainings = list(load_recipe(name).trainings)
        kinds = [training.name for stage in STAGES for training in stage.trainings]
        places = [kinds.index(training.rstrip("0123456789")) for training in trainings]
        assert places == sorted(places)
    assert trainings == ["dense", "train", *(f"merge{step}" for step in range(1, 6)), "retrain"]


def test_doing_a_stage_again_deletes_the_files_of_later_stages_first() -> None:
    assert files_from("compact") == [
        *("figures/*.png", "report.html", "result.json"),
        *("latency.json", "model.pte", "model.pt2", "model.onnx", "model.safetensors"),
    ]
    assert files_from("train")[::-1] == [pattern for stage in STAGES for pattern in stage.files]
    with pytest.raises(InvalidValueError, match="stage must be 'train', .* or 'eval', got 'dense'"):
        files_from("dense")


def test_trainings_and_stages_have_titles() -> None:
    assert title_of("train") == "train with GrOWL"
    assert title_of("merge2") == title_of("merge1") == "train between two steps of tying"
    assert title_of("eval") == "test, measure, check"
