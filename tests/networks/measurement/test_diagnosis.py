"""The dry run: right reasons, right counts, and the network untouched."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

import torch_growl as tg
from torch_growl.errors import InvalidValueError, LayerError


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


def test_every_layer_is_told_with_its_reason_and_the_network_is_untouched() -> None:
    model, x = Mixed(), torch.randn(3, 6)
    before, state = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    found = tg.doctor(model, x)
    assert model.training
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    layers = {layer.name: layer for layer in found.layers}
    assert list(layers) == ["first", "second", "memory", "frozen", "last"]
    assert layers["second"].form == "full"
    assert layers["second"].producer == "first"
    assert layers["second"].half_saves_weights == 4 * 4 + 4 * 6 + 4
    assert layers["second"].half_saves_macs == 4 * 4 + 4 * 6
    assert layers["first"].form == "local"
    assert layers["first"].macs == 48
    assert "unsupported type LSTM" in layers["memory"].reason
    assert "frozen" in layers["frozen"].reason
    assert not layers["last"].chosen
    assert "last layer" in layers["last"].reason
    assert "unsupported type LSTM" in str(found)
    assert len(found.to_records()) == 5


def test_wrong_input_and_unknown_layers_are_said() -> None:
    with pytest.raises(InvalidValueError, match="cannot be run"):
        tg.doctor(Mixed(), torch.randn(3, 5))
    with pytest.raises(LayerError, match="unknown layer"):
        tg.doctor(Mixed(), torch.randn(3, 6), layers=["frist"])
