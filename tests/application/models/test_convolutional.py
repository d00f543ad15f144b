"""LeNet-5 and VGG-16: names, shapes and counts as published."""

from __future__ import annotations

from typing import Any

from torch import nn

from tests.support.weights import weights
from torch_growl.application.models.registry import build_network


def test_the_papers_vgg16_has_its_14_977_728_weights() -> None:
    network = build_network("vgg16")
    assert weights(network) == 14_977_728
    names = [name for name, m in network.named_children() if isinstance(m, nn.Linear | nn.Conv2d)]
    assert names == [*(f"conv{i}" for i in range(1, 14)), "fc1", "fc2"]
    assert sum(isinstance(m, nn.MaxPool2d) for m in network) == 5  # type: ignore[attr-defined]


def test_lenet5_is_caffes() -> None:
    network: Any = build_network("lenet5")
    assert weights(network) == 20 * 25 + 50 * 20 * 25 + 800 * 500 + 500 * 10
    assert network.conv2.weight.shape == (50, 20, 5, 5)
