"""Outputs without predictions are described."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from torch_growl.application.tasks.outputs import described

X = torch.zeros(4, 3)


@pytest.mark.parametrize(
    ("output", "said"),
    [
        ({"hidden": X, 3: X}, "a dict with hidden, 3"),
        (SimpleNamespace(last_hidden_state=X), "a SimpleNamespace with last_hidden_state"),
        ((), "a tuple"),
        (None, "a NoneType"),
        (3, "an int"),
        ((torch.tensor(0.5),), "a tuple"),
    ],
)
def test_other_outputs_are_described(output: Any, said: str) -> None:
    assert described(output) == said
    assert described(X) == "a tensor of shape (4, 3)"
