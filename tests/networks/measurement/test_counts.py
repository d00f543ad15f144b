"""Counts are those worked out by hand, every batch size is timed, and the measured network is not modified."""

from __future__ import annotations

import json
import re

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from torch_growl.errors import InvalidTypeError, InvalidValueError
from torch_growl.networks.compaction.compactor import compact
from torch_growl.networks.execution.example_inputs import batch_of
from torch_growl.networks.measurement.counts import measure


def counted(model: nn.Module, x: object) -> tuple[int, int, int, int]:
    found = measure(model, x, latency=False)
    assert found.latency_ms == {}
    return found.weights, found.distinct_weights, found.bytes, found.macs


def test_a_dense_chain() -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(128, 5))
    conv, bn, linear = 8 * 27 + 8, 16, 128 * 5 + 5
    weights = conv + bn + linear
    assert counted(model, torch.randn(6, 3, 4, 4)) == (weights, weights, 4 * (weights + 16) + 8, 216 * 16 + 640)


@pytest.mark.parametrize(("kind", "gates"), [(nn.LSTM, 4), (nn.GRU, 3), (nn.RNN, 1)])
def test_recurrent_layers_are_counted(kind: type[nn.LSTM], gates: int) -> None:
    model = kind(6, 5, num_layers=2, bidirectional=True, batch_first=True)
    first, second = gates * 5 * (6 + 5), gates * 5 * (10 + 5)
    assert counted(model, torch.randn(3, 7, 6))[3] == 7 * 2 * (first + second)


def test_zero_and_equal_rows_count_once() -> None:
    model = nn.Linear(10, 4)
    with torch.no_grad():
        model.weight[:, :3] = 0
        model.weight[:, 5] = model.weight[:, 6] = model.weight[:, 7]
    assert counted(model, torch.randn(2, 10)) == (44, 5 * 4 + 4, 4 * 44, 40)


def test_indices_and_sums_of_a_compact_network_are_counted() -> None:
    model = nn.Sequential(nn.Linear(20, 30))
    with torch.no_grad():
        model[0].weight[:, :8] = 0
        model[0].weight[:, 9] = model[0].weight[:, 10] = model[0].weight[:, 11]
    small = compact(model, torch.randn(3, 20))
    weights = 10 * 30 + 30
    assert counted(small, torch.randn(3, 20)) == (weights, weights, 4 * weights + 4 * (10 + 2 + 2), 300 + 2)


@pytest.mark.parametrize(
    ("model", "shape", "macs"),
    [
        (nn.Conv2d(6, 8, 3, groups=2), (2, 6, 5, 5), 8 * 9 * 3 * 9),
        (nn.ConvTranspose2d(6, 8, 3, stride=2), (2, 6, 5, 5), 6 * 25 * 8 * 9),
        (nn.Linear(4, 3), (2, 7, 4), 7 * 12),
        (nn.Identity(), (2, 3), 0),
    ],
    ids=["grouped", "transposed", "sequence", "nothing"],
)
def test_macs_of_one_example(model: nn.Module, shape: tuple[int, ...], macs: int) -> None:
    assert measure(model, torch.randn(shape), latency=False).macs == macs


def test_attention_is_counted_in_full() -> None:
    model = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    length = 5
    projections, attention, feedforward = length * 8 * 32, 2 * length * length * 8, 2 * length * 8 * 16
    assert measure(model, torch.randn(2, length, 8), latency=False).macs == projections + attention + feedforward
    assert torch.backends.mha.get_fastpath_enabled()


def test_shared_parameters_count_once() -> None:
    a, b = nn.Linear(4, 4), nn.Linear(4, 4)
    b.weight = a.weight
    assert counted(nn.Sequential(a, b), torch.randn(2, 4)) == (24, 24, 96, 32)


def test_parametrized_weights_count_as_what_they_compute() -> None:
    class Repeat(nn.Module):
        def forward(self, row: Tensor) -> Tensor:
            return row.expand(5, 4)

        def right_inverse(self, weight: Tensor) -> Tensor:
            return weight[:1].clone()

    model = nn.Linear(4, 5)
    parametrize.register_parametrization(model, "weight", Repeat())
    assert measure(model, torch.randn(2, 4), latency=False).weights == 25
    assert parametrize.is_parametrized(model)
    assert model(torch.randn(2, 4)).shape == (2, 5)


def test_latency_is_timed_for_every_batch_size_and_nothing_changes() -> None:
    model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Dropout())
    before = {name: value.clone() for name, value in model.state_dict().items()}
    x = torch.randn(2, 6)
    state = torch.random.get_rng_state()
    found = measure(model, {"input": x}, batch_sizes=(1, 4), repeats=3)
    assert list(found.latency_ms) == ["1", "4"]
    assert all(value > 0 for value in found.latency_ms.values())
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert torch.equal(torch.random.get_rng_state(), state)
    assert json.loads(json.dumps(found.to_dict()))["weights"] == 72
    assert re.search(r"weights +72\n.*\nbytes", str(found))
    assert "ms, batch 4" in str(found)


def test_calls_are_as_many_as_asked_for_on_batches_of_the_size_asked_for() -> None:
    sizes: list[int] = []

    class Notes(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            if torch.is_inference_mode_enabled():  # the timed calls, not the counting of MACs
                sizes.append(len(x))
            return x

    measure(Notes(), torch.randn(3, 2), batch_sizes=(1, 7), repeats=3, warmup=2)
    assert sizes == [1] * 5 + [7] * 5


def test_a_batch_takes_the_examples_over_and_over_and_leaves_other_tensors() -> None:
    x, labels, table = torch.arange(6.0).reshape(3, 2), torch.tensor([0, 1, 2]), torch.randn(5, 4)
    (found, found_labels, same), named = batch_of(((x, labels, table), {"more": [x]}), 7)
    assert found[:, 0].tolist() == [0, 2, 4, 0, 2, 4, 0]
    assert found_labels.tolist() == [0, 1, 2, 0, 1, 2, 0]
    assert same is table
    assert len(named["more"][0]) == 7


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(InvalidTypeError, match="model must be"):
        measure("model", torch.randn(2, 2))  # type: ignore[arg-type]
    for name, bad, least in (("repeats", 0, 1), ("warmup", -1, 0), ("batch_sizes", (0,), 1)):
        with pytest.raises(InvalidValueError, match=f"{name} must be an integer ≥ {least}"):
            measure(nn.Linear(2, 2), torch.randn(2, 2), **{name: bad})
    with pytest.raises(InvalidValueError, match="need a batch dimension"):
        measure(nn.Linear(2, 2), torch.tensor(1.0))
