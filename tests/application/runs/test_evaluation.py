"""result.json and ``growl bench`` take their latencies from one function, with the recipe's settings."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from torch_growl.application.runs import evaluation
from torch_growl.application.runs.evaluation import compare_run
from torch_growl.errors import GrowlError
from torch_growl.networks.measurement import Comparison


def a_run() -> Any:
    measure = SimpleNamespace(batch_sizes=[1, 256], repeats=7)
    return SimpleNamespace(
        recipe=SimpleNamespace(measure=measure), device=torch.device("cpu"), example=lambda: torch.zeros(2, 3)
    )


def test_settings_are_the_recipes_unless_others_are_given(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[dict[str, Any]] = []

    def compare_latency(dense: nn.Module, small: nn.Module, example: torch.Tensor, **settings: Any) -> list[Comparison]:
        assert example.shape == (2, 3)
        given.append(settings)
        return []

    monkeypatch.setattr(evaluation, "compare_latency", compare_latency)
    compare_run(a_run(), nn.Linear(3, 2), nn.Linear(3, 2))
    compare_run(a_run(), nn.Linear(3, 2), nn.Linear(3, 2), batch_sizes=(8,), runtimes=("compile",), threads=2)
    assert given == [
        {"batch_sizes": [1, 256], "runtimes": ("eager",), "threads": None, "repeats": 7},
        {"batch_sizes": (8,), "runtimes": ("compile",), "threads": 2, "repeats": 7},
    ]


def test_the_fields_of_result_json() -> None:
    found = [Comparison("eager", 1, 2.0, 1.0), Comparison("eager", 256, 40.0, 30.0)]
    assert evaluation._latency_ms(found) == {"dense": {"1": 2.0, "256": 40.0}, "compact": {"1": 1.0, "256": 30.0}}
    with pytest.raises(GrowlError, match="cannot be timed at batch size 256: out of memory"):
        evaluation._latency_ms([found[0], Comparison("eager", 256, None, None, "out of memory")])
