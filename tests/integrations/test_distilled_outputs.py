"""The loss in outputs of transformers' networks: mappings, tuples, labels that are spread over a step's batches."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from torch_growl.errors import InvalidValueError
from torch_growl.integrations.distilled_outputs import _task_of, distilled
from torch_growl.integrations.recovery import Recovery


class Network(nn.Module):
    """Logits and a loss, as a dict or a tuple."""

    loss_type = "ForCausalLM"

    def __init__(self, **config: Any) -> None:
        super().__init__()
        self.config = SimpleNamespace(is_encoder_decoder=False, problem_type=None, **config)
        self.head = nn.Linear(4, 3)

    def forward(self, x: torch.Tensor, form: type = dict, **labels: Any) -> Any:
        logits = self.head(x)
        found = {"loss": logits.square().mean(), "logits": logits}
        return found if form is dict else tuple(found.values())


def recovery(teacher: nn.Module, **given: Any) -> Recovery:
    made = Recovery(distill=0.25, teacher=teacher, **given)
    made.begin(Network(), 0, {}, lambda: None)
    return made


X = torch.randn(2, 5, 4, generator=torch.Generator().manual_seed(0))


def test_the_loss_is_replaced_in_mappings_and_tuples() -> None:
    torch.manual_seed(0)
    student, teacher = Network(), Network()
    plain = student(X)
    expected = 0.75 * plain["loss"] + recovery(teacher).loss((X,), {}, plain, "language-model")
    found = distilled(student, recovery(teacher), (X,), {}, student(X))
    torch.testing.assert_close(found["loss"], expected)
    assert torch.equal(found["logits"], plain["logits"])
    in_tuple = distilled(student, recovery(teacher), (X,), {"form": tuple}, student(X, form=tuple))
    torch.testing.assert_close(in_tuple[0], expected)
    assert torch.equal(in_tuple[1], plain["logits"])


def test_the_teachers_part_counts_by_the_labels_of_a_step() -> None:
    torch.manual_seed(0)
    student, teacher = Network(), Network()
    labels = torch.tensor([[1, 2, 0, 1, -100], [1, 1, 1, 1, 1]])  # 7 next tokens are counted
    plain = student(X)
    whole = recovery(teacher).loss((X,), {}, plain, "language-model")
    for given, share in (
        ({"labels": labels}, 1.0),
        ({"labels": labels, "num_items_in_batch": torch.tensor(28)}, 7 / 28),
        ({"labels": labels, "shift_labels": labels[:, :3], "num_items_in_batch": 12}, 6 / 12),
    ):
        found = distilled(student, recovery(teacher), (X,), given, student(X))
        torch.testing.assert_close(found["loss"], 0.75 * plain["loss"] + share * whole)
    student.loss_type = "ForTokenClassification"
    found = distilled(
        student, recovery(teacher), (X,), {"labels": labels, "num_items_in_batch": torch.tensor(18)}, student(X)
    )
    torch.testing.assert_close(found["loss"], 0.75 * plain["loss"] + 9 / 18 * whole)


@pytest.mark.parametrize("output", [{"logits": X}, (X, X), X])
def test_outputs_without_a_loss_are_refused(output: Any) -> None:
    with pytest.raises(InvalidValueError, match="returns its loss"):
        distilled(Network(), recovery(Network()), (X,), {}, output)


def test_the_task_is_found_by_the_config_and_the_shape_of_the_logits() -> None:
    model = Network()
    assert _task_of(model, X) == "language-model"
    assert _task_of(model, X[0]) == "classification"
    assert _task_of(model, X[None]) == "classification"
    for problem, task in (("regression", "regression"), ("multi_label_classification", "multilabel")):
        model.config.problem_type = problem
        assert _task_of(model, X) == task
