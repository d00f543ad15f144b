"""ResNets for CIFAR-10: shortcuts, counts and the weights of akamaster's repository."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from torch_growl.application.models.registry import build_network


def test_resnet_halves_its_size_where_channels_double() -> None:
    network: Any = build_network("resnet_cifar")
    assert sum(p.numel() for p in network.parameters()) == 269_722  # akamaster's ResNet-20
    block = network.layer2[0].eval()
    nn.init.zeros_(block.bn2.weight)  # only the shortcut is left
    x = torch.rand(2, 16, 8, 8)
    y = block(x)
    assert y.shape == (2, 32, 4, 4)
    assert torch.equal(y[:, 8:24], x[:, :, ::2, ::2])
    assert y[:, :8].abs().sum() + y[:, 24:].abs().sum() == 0


@pytest.mark.parametrize("depth", [20, 56])
def test_resnet_takes_akamasters_weights(depth: int, data_dir: Path) -> None:
    path = data_dir.parent / "pretrained" / f"resnet{depth}-cifar10.safetensors"
    if not path.is_file():
        pytest.skip(f"no pretrained weights: {path.name} is not in pretrained/ beside GROWL_DATA")
    network = build_network("resnet_cifar", depth=depth).eval()
    before = network.conv1.weight.detach().clone()  # type: ignore[union-attr, operator]
    network.load_state_dict(load_file(path), strict=True)
    assert not torch.equal(network.conv1.weight, before)  # type: ignore[arg-type]
    assert network(torch.randn(2, 3, 32, 32)).shape == (2, 10)
