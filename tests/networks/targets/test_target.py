"""A target is one measure, as a share or a figure; everything else is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import torch_growl as tg

DENSE = {"weights": 1000, "macs": 900, "bytes": 4000, "file_bytes": 5000, "latency_ms": 4.0}


@pytest.mark.parametrize(
    ("target", "amount"),
    [
        (tg.Target(weights=0.5), 500),
        (tg.Target(macs=0.1), 90),
        (tg.Target(bytes=0.25), 1000),
        (tg.Target(weights=700), 700),
        (tg.Target(bytes=1), 1),
        (tg.Target(file_bytes=0.2, dtype="int8"), 1000),
        (tg.Target(latency_ms=0.5, batch=8, runtime="onnxruntime"), 2),
        (tg.Target(latency_ms=1.5), 1.5),
    ],
    ids=repr,
)
def test_a_share_or_a_figure(target: tg.Target, amount: float) -> None:
    assert target.amount(DENSE[target.of]) == pytest.approx(amount)


@pytest.mark.parametrize(
    ("given", "error", "text"),
    [
        ({}, ValueError, "one of weights, macs, bytes, file_bytes, latency_ms and accuracy_drop, got none"),
        ({"weights": 0.5, "macs": 0.5}, ValueError, "got \\['macs', 'weights'\\]"),
        ({"macs": 0}, ValueError, "macs must be finite and > 0, got 0: a share below 1"),
        ({"macs": float("nan")}, ValueError, "macs must be"),
        ({"bytes": "half"}, TypeError, "bytes must be a number, got str"),
        ({"file_bytes": 0.5, "dtype": "int4"}, ValueError, "dtype must be 'float32'.*got 'int4'"),
        ({"bytes": 0.5, "dtype": "int8"}, ValueError, "dtype is for file_bytes.*got bytes"),
        ({"latency_ms": 0.5, "runtime": "compile"}, ValueError, "runtime must be 'eager' or 'onnxruntime'"),
        ({"latency_ms": 0.5, "batch": 0}, ValueError, "batch must be"),
        ({"macs": 0.5, "batch": 8}, ValueError, "batch and runtime are for latency_ms; got macs"),
        ({"accuracy_drop": 0, "validate": len}, ValueError, "accuracy_drop must be finite and > 0, got 0"),
        ({"accuracy_drop": 0.3}, ValueError, "accuracy_drop and validate.* go together"),
        ({"macs": 0.5, "validate": len}, ValueError, "accuracy_drop and validate.* go together"),
        ({"accuracy_drop": 0.3, "validate": 97.0}, TypeError, "validate must be a function of the network, got float"),
        ({"macs": 0.5, "reference": 97.0}, ValueError, "are for an accuracy_drop"),
        ({"macs": 0.5, "standard_error": 1.0}, ValueError, "are for an accuracy_drop"),
        ({"accuracy_drop": 0.3, "validate": len, "standard_error": -1}, ValueError, "standard_error must be"),
        ({"accuracy_drop": 1, "validate": len, "reference": "high"}, TypeError, "reference must be a number"),
    ],
)
def test_other_targets_are_refused(given: dict[str, object], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text) as caught:
        tg.Target(**given)  # type: ignore[arg-type]
    assert isinstance(caught.value, tg.GrowlError)


def test_a_share_of_a_small_network_is_not_shown_as_nothing() -> None:
    assert tg.Target(macs=0.5).text(0.0388) == "0.039"
    assert [tg.Target(macs=0.5).text(amount) for amount in (0, 1, 1234.5)] == ["0", "1", "1,234"]
    model = nn.Sequential(nn.Linear(12, 16), nn.ReLU(), nn.Linear(16, 4))
    with pytest.raises(tg.GrowlError, match=r"asked were 0\.026"):
        tg.GrOWL(model, target=tg.Target(macs=0.0001), example_inputs=torch.randn(2, 12))


def test_a_figure_that_the_dense_network_meets_is_refused() -> None:
    with pytest.raises(tg.GrowlError, match="macs must be less than the dense network's 900, got 900"):
        tg.Target(macs=900).amount(DENSE["macs"])


@pytest.mark.parametrize("score", [0.5, 3, np.float32(2), torch.tensor(1.0)])
def test_a_score_may_be_any_number(score: object) -> None:
    assert tg.Target(accuracy_drop=1, validate=lambda _: score).score(nn.Identity()) == float(score)  # type: ignore[arg-type,return-value]


@pytest.mark.parametrize("score", [None, True, "0.9", torch.ones(2), (0.9, 1)])
def test_what_is_no_number_is_refused(score: object) -> None:
    with pytest.raises(tg.GrowlError, match="validate must return a number"):
        tg.Target(accuracy_drop=1, validate=lambda _: score).score(nn.Identity())  # type: ignore[arg-type,return-value]


def test_scores_within_a_standard_error_of_the_best_are_equal_to_it() -> None:
    judged = {"accuracy_drop": 0.3, "validate": lambda network: 0.0}
    scores = [90.0, 97.0, 98.0, 97.5]
    assert tg.Target(**judged).equal_to_best(scores) == 98.0
    assert tg.Target(**judged, standard_error=0.6).equal_to_best(scores) == 97.75
    assert tg.Target(**judged, standard_error=2.0, higher_is_better=False).equal_to_best([3.0, 2.0, 9.0]) == 2.5
