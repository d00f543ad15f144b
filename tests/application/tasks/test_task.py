"""The base of all tasks: the score from sums, and what it takes of outputs."""

from __future__ import annotations

import pytest
import torch

from torch_growl.application.tasks import build_task


def test_a_score_is_the_first_sum_over_the_second() -> None:
    assert build_task("classification").score(torch.tensor([3.0, 4.0], dtype=torch.float64)) == 0.75


@pytest.mark.parametrize("name", ["classification", "regression"])
def test_predictions_are_taken_from_outputs_with_fields(name: str) -> None:
    logits = torch.zeros(3, 2)
    assert build_task(name).output({"logits": logits, "loss": torch.tensor(0.0)}) is logits
    assert build_task(name).output({"hidden": logits}) is None
