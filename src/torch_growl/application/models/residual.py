"""Residual networks for CIFAR-10 (He et al. 2016): ResNet-20, -32, -44, -56, -110."""

from __future__ import annotations

import os
from pathlib import Path
from typing import cast

from torch import Tensor, nn
from torch.nn import functional as F

from torch_growl.application.models.initialisation import he_normal_, load_weights_
from torch_growl.arguments import check_count, check_number
from torch_growl.errors import InvalidValueError

__all__ = ["resnet_cifar"]


class PaddedShortcut(nn.Module):
    """A shortcut without weights (option A: every ``stride``-th pixel, padded with zero channels on both sides).

    As a module of its own it lets compaction remove its channels.
    """

    def __init__(self, stride: int, extra: int) -> None:
        super().__init__()
        self.stride, self.extra = stride, extra

    def forward(self, x: Tensor) -> Tensor:
        """x: ``(b, inputs, h, w)``; returns ``(b, inputs + extra, h / stride, w / stride)``."""
        before = self.extra // 2
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, before, self.extra - before))


class ResidualBlock(nn.Module):
    """Two 3×3 convolutions and a shortcut without weights."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.stride = stride
        self.extra = outputs - inputs
        self.shortcut = PaddedShortcut(stride, self.extra) if stride != 1 or self.extra else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """x: ``(b, inputs, h, w)``; returns ``(b, outputs, h / stride, w / stride)``."""
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return F.relu(y + self.shortcut(x))


class CifarResNet(nn.Module):
    """A residual network of three stages; see :func:`resnet_cifar`."""

    def __init__(self, blocks: int, widths: tuple[int, int, int], n_classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, widths[0], 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0])
        self.layer1 = self._stage(blocks, widths[0], widths[0], 1)
        self.layer2 = self._stage(blocks, widths[0], widths[1], 2)
        self.layer3 = self._stage(blocks, widths[1], widths[2], 2)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.linear = nn.Linear(widths[2], n_classes)

    @staticmethod
    def _stage(blocks: int, inputs: int, outputs: int, stride: int) -> nn.Sequential:
        first = ResidualBlock(inputs, outputs, stride)
        return nn.Sequential(first, *(ResidualBlock(outputs, outputs, 1) for _ in range(blocks - 1)))

    def forward(self, x: Tensor) -> Tensor:
        """x: ``(b, 3, h, w)``; returns class scores ``(b, n_classes)``."""
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return cast(Tensor, self.linear(self.flatten(self.pool(x))))


def resnet_cifar(
    *, depth: int = 20, width: float = 1.0, n_classes: int = 10, weights: str | os.PathLike[str] | None = None
) -> nn.Module:
    """Build a ResNet for CIFAR, with parameters named as in akamaster/pytorch_resnet_cifar10.

    Args:
        depth: number of layers: 6 n + 2 for n blocks in each of the three stages, ≥ 8.
        width: factor of the 16, 32, 64 channels of the stages, > 0.
        n_classes: outputs, ≥ 1.
        weights: a safetensors file with that repository's weights, for images normalised by ImageNet's mean and
            standard deviation; None: random weights.

    Raises:
        InvalidTypeError, InvalidValueError: an argument has another type or is out of range, or the file's weights are
            of another network.
    """
    if type(depth) is not int or depth < 8 or (depth - 2) % 6:
        raise InvalidValueError(f"depth must be 6 n + 2 (8, 14, 20, …, 56), got {depth!r}")
    check_number("width", width, above=0)
    check_count("n_classes", n_classes)
    small, middle, large = (max(1, round(size * width)) for size in (16, 32, 64))
    network = CifarResNet((depth - 2) // 6, (small, middle, large), n_classes)
    he_normal_(network)
    if weights is not None:
        load_weights_(network, Path(weights))
    return network
