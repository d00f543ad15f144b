"""The registry: the tasks that a recipe may name, each complete."""

from __future__ import annotations

import pytest

from torch_growl.application.recipes import load_recipe
from torch_growl.application.tasks.registry import BUILTIN, build_task
from torch_growl.errors import RecipeError


@pytest.mark.parametrize("name", BUILTIN)
def test_every_task_of_the_schema_is_built_and_tells_what_it_needs(name: str) -> None:
    assert load_recipe("digits", {"task": name}).task == name
    task = build_task(name)
    assert task.name == name
    assert task.labels
    assert task.outputs.format(n=8, labels=(8, 3))


def test_the_metrics_and_their_directions() -> None:
    assert {
        name: (task.metric.name, task.metric.higher_is_better, task.metric.unit) for name, task in BUILTIN.items()
    } == {
        "classification": ("accuracy", True, "%"),
        "multilabel": ("micro F1", True, "%"),
        "regression": ("RMSE", False, ""),
        "segmentation": ("mean IoU", True, "%"),
        "language-model": ("perplexity", False, ""),
    }


def test_another_name_is_refused() -> None:
    with pytest.raises(RecipeError, match="task = 'regresion': no such task; did you mean 'regression'"):
        build_task("regresion")
