"""The diagnosis before training has the right reasons and counts, and leaves the network as it was."""

from __future__ import annotations

import copy
import re

import pytest
import torch
from torch import Tensor, nn

import torch_growl as tg
from torch_growl.errors import InvalidTypeError, InvalidValueError, LayerError


class Mixed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(6, 8)
        self.second = nn.Linear(8, 4)
        self.memory = nn.LSTM(4, 4, batch_first=True)
        self.frozen = nn.Linear(4, 4).requires_grad_(False)
        self.last = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        y, _ = self.memory(self.second(self.first(x).relu()).unsqueeze(1))
        return self.last(self.frozen(y[:, 0]))


LAST = "left out by default: the network's last layer"
LSTM = "unsupported type LSTM: its weights are kept as they are"
INPUTS = "its inputs are the network's, or are combined with a tensor that is kept"


def test_the_network_and_the_random_state_are_as_before() -> None:
    model, x = Mixed(), torch.randn(3, 6)
    before, state = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    tg.doctor(model, x)
    assert model.training
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_every_layer_has_its_reason() -> None:
    found = tg.doctor(Mixed(), torch.randn(3, 6))
    assert [(layer.name, layer.eligible, layer.chosen, layer.reason) for layer in found.layers] == [
        ("first", True, True, ""),
        ("second", True, True, ""),
        ("memory", False, False, LSTM),
        ("frozen", False, False, "frozen (requires_grad is False)"),
        ("last", True, False, LAST),
    ]
    assert [(layer.form, layer.producer, layer.form_reason) for layer in found.layers] == [
        ("local", "", INPUTS),
        ("full", "first", ""),
        ("none", "", ""),
        ("none", "", ""),
        ("full", "frozen", ""),
    ]


def test_counts_and_savings_are_those_worked_out_by_hand() -> None:
    model, x = Mixed(), torch.randn(3, 6)
    found = tg.doctor(model, x)
    lstm = 4 * 4 * (4 + 4)
    assert found.weights == sum(p.numel() for p in model.parameters())
    assert found.macs == tg.measure(model, x, latency=False).macs == 48 + 32 + lstm + 16 + 8
    first, second, memory, _, last = found.layers
    assert (first.n_rows, first.row_length, first.weights, first.bytes, first.macs) == (6, 8, 56, 224, 48)
    assert (memory.n_rows, memory.weights, memory.macs) == (0, 4 * 4 * 8 + 2 * 16, 0)
    assert (first.half_saves_weights, first.half_saves_macs) == (3 * 8, 3 * 8)
    assert (second.half_saves_weights, second.half_saves_macs) == (4 * 4 + 4 * 6 + 4, 4 * 4 + 4 * 6)
    assert (last.half_saves_weights, last.half_saves_macs) == (2 * 2 + 2 * 4 + 2, 2 * 2 + 2 * 4)
    assert first.weight_share == pytest.approx(56 / found.weights)
    assert first.mac_share == pytest.approx(48 / found.macs)


def test_layers_and_side_are_those_that_were_given() -> None:
    found = tg.doctor(Mixed(), torch.randn(3, 6), layers=["second", "last"])
    assert [layer.name for layer in found.layers if layer.chosen] == ["second", "last"]
    assert found.layers[0].reason == "not among the given layers"
    outputs = tg.doctor(Mixed(), torch.randn(3, 6), side="output")
    assert [(layer.n_rows, layer.row_length) for layer in outputs.layers[:2]] == [(8, 6), (4, 8)]
    assert {layer.form for layer in outputs.layers} == {"none"}
    assert outputs.layers[0].form_reason == "compact() removes inputs; equal rows of outputs save storage only"


def test_the_table_and_the_records_show_every_layer() -> None:
    found = tg.doctor(Mixed(), torch.randn(3, 6))
    lines = str(found).splitlines()
    assert re.split(r"  +", lines[0]) == [
        "layer", "type", "penalised", "rows", "weights", "MACs", "form", "½ saves", "½ saves MACs", "reason",
    ]  # fmt: skip
    assert lines[6] == ""
    assert [line.split()[:3] for line in lines[1:6]] == [
        ["first", "Linear", "yes"],
        ["second", "Linear", "yes"],
        ["memory", "LSTM", "no"],
        ["frozen", "Linear", "no"],
        ["last", "Linear", "if"],
    ]
    assert lines[3].endswith(LSTM)
    records = found.to_records()
    assert [record["name"] for record in records] == [layer.name for layer in found.layers]
    assert records[1]["producer"] == "first"


def test_wrong_inputs_and_unknown_layers_are_refused() -> None:
    with pytest.raises(InvalidTypeError, match=r"model must be a torch\.nn\.Module, got str"):
        tg.doctor("model", torch.randn(3, 6))  # type: ignore[arg-type]
    with pytest.raises(InvalidValueError, match="cannot be run on the example inputs"):
        tg.doctor(Mixed(), torch.randn(3, 5))
    with pytest.raises(LayerError, match="unknown layer 'frist'"):
        tg.doctor(Mixed(), torch.randn(3, 6), layers=["frist"])
