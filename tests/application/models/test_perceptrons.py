"""Multilayer perceptrons: names, sizes and the paper's initial weights."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from tests.support.weights import weights
from torch_growl.application.models.perceptrons import digits_mlp, mlp
from torch_growl.application.models.registry import build_network


def test_the_papers_mlp_is_784_300_10_with_its_initial_weights() -> None:
    network: Any = build_network("mnist_mlp")
    assert list(dict(network.named_children())) == ["fc1", "relu1", "bn1", "fc2"]
    assert weights(network) == 784 * 300 + 300 * 10
    assert float(network.fc1.weight.detach().std()) == pytest.approx((2 / 300) ** 0.5, rel=0.01)
    assert float(network.fc2.weight.detach().std()) == pytest.approx((2 / 10) ** 0.5, rel=0.05)
    assert torch.equal(network.fc1.bias, torch.full((300,), 0.1))


def test_mlp_names_its_layers_and_can_do_without_normalisation() -> None:
    assert list(dict(mlp([3, 4, 5, 2]).named_children())) == [
        "fc1",
        "relu1",
        "bn1",
        "fc2",
        "relu2",
        "bn2",
        "fc3",
    ]
    assert list(dict(mlp([3, 4, 2], batch_norm=False).named_children())) == ["fc1", "relu1", "fc2"]
    assert [m.out_features for m in digits_mlp() if isinstance(m, nn.Linear)] == [300, 100, 10]
