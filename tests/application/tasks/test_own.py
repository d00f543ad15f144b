"""A user's own task: its loss and metric over batches, and what of it is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from torch_growl.application.recipes import load_recipe
from torch_growl.application.tasks.batch_forms import Batch
from torch_growl.application.tasks.metric import Metric
from torch_growl.application.tasks.registry import build_task
from torch_growl.errors import RecipeError

Write = Callable[[str, str], None]
MODULE = """
import torch
def error(output, labels): return (output["y"] - labels).abs().mean()
def each(output, labels): return (output["y"] - labels).abs()
def sums(output, labels): return torch.stack([(output["y"] * labels).sum(), labels.square().sum()])
metric = {"name": "MAE", "higher_is_better": False, "unit": "mm"}
def mean(): return {"loss": error, "metric": metric, "measure": each}
def slope(): return {"loss": error, "metric": {"name": "slope", "higher_is_better": True}, "measure": sums,
                     "finish": lambda s: s[0] / s[1]}
def number(): return 5
def fails(): raise OSError("no file")
def without(): return {"loss": error, "metric": metric}
def more(): return {**mean(), "extra": 1}
def no_function(): return {**mean(), "loss": 5}
def no_name(): return {**mean(), "metric": {"higher_is_better": True}}
def no_direction(): return {**mean(), "metric": {"name": "MAE", "higher_is_better": "yes"}}
def no_scalar(): return {**mean(), "loss": each}
def no_vector(): return {**mean(), "measure": error}
def no_such_entry(): return {**mean(), "loss": lambda output, labels: output["z"]}
"""
X, Y = torch.tensor([1.0, 2.0, 4.0]), torch.tensor([2.0, 2.0, 1.0])


@pytest.fixture
def own(own_module: Write) -> None:
    own_module("own_goal", MODULE)


@pytest.mark.usefixtures("own")
def test_the_metric_is_the_mean_of_its_values_over_all_examples() -> None:
    task = build_task("own_goal:mean")
    assert task.metric == Metric("MAE", False, "mm")
    assert float(task.loss({"y": X}, Y)) == pytest.approx(4 / 3)
    parts = task.sums({"y": X[:1]}, Y[:1]) + task.sums({"y": X[1:]}, Y[1:])
    assert task.score(parts) == pytest.approx(4 / 3)
    assert task.output_fault({"y": X}, Batch(((X,), {}), Y)) == ""
    assert torch.equal(task.predicted({"y": X, "z": [X]}), torch.cat([X, X]).double())


@pytest.mark.usefixtures("own")
def test_a_metric_that_is_no_mean_is_computed_from_sums() -> None:
    task = build_task("own_goal:slope")
    parts = task.sums({"y": X[:1]}, Y[:1]) + task.sums({"y": X[1:]}, Y[1:])
    assert task.score(parts) == pytest.approx((2 + 4 + 4) / 9)


@pytest.mark.usefixtures("own")
def test_a_dict_without_labels_is_given_as_a_whole() -> None:
    task = build_task("own_goal:mean")
    assert list(task.read({"left": X, "right": Y}).labels) == ["left", "right"]
    assert task.read({"left": X, "labels": Y}).labels is Y


@pytest.mark.usefixtures("own")
@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("number", "must return a dict with 'loss', 'metric', 'measure' and optionally 'finish'; it returned a int"),
        ("without", r"it returned a dict with \['loss', 'metric'\]"),
        ("more", r"it returned a dict with \['extra', "),
        ("fails", "calling it failed with OSError: no file"),
        ("no_function", "'loss' must be a function, got int"),
        ("no_name", "'metric' must be a dict with 'name' .text., 'higher_is_better'"),
        ("no_direction", "'metric' must be a dict"),
        ("nothing", "module 'own_goal' has no 'nothing'"),
    ],
)
def test_what_is_no_task_is_refused(name: str, said: str) -> None:
    with pytest.raises(RecipeError, match=f"task = 'own_goal:{name}'.*{said}"):
        build_task(f"own_goal:{name}")


@pytest.mark.usefixtures("own")
@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("no_scalar", "its loss must be a floating-point tensor without dimensions, got Tensor of shape (3,)"),
        ("no_vector", "measure must return a value for each example: (n,), got Tensor of shape ()"),
        ("no_such_entry", "its loss and metric cannot be computed for the first examples: KeyError: 'z'"),
    ],
)
def test_loss_and_metric_are_tried_on_the_first_examples(name: str, said: str) -> None:
    assert said in build_task(f"own_goal:{name}").output_fault({"y": X}, Batch(((X,), {}), Y))


@pytest.mark.usefixtures("own")
@pytest.mark.parametrize(
    ("task", "settings", "said"),
    [
        ("own_goal:mean", {"retrain.distill": 0.5}, "retrain.distill must be 0 in task 'own_goal:mean'"),
        ("regression", {}, "dense.label_smoothing must be 0 in task 'regression'"),
        ("segmentation", {}, ""),
    ],
)
def test_settings_without_a_meaning_for_the_task_are_refused(task: str, settings: dict[str, Any], said: str) -> None:
    smoothing = {} if settings else {"dense.label_smoothing": 0.1}
    phases = {f"{name}.label_smoothing": 0.0 for name in ("dense", "train", "merge", "retrain")}
    trainings = load_recipe("digits", {**phases, **settings, **smoothing}).trainings
    if not said:
        build_task(task).check_settings(trainings)
        return
    with pytest.raises(RecipeError, match=said):
        build_task(task).check_settings(trainings)
