"""The table of layer types: checks of rows, prox, tying and int8 weights run on each; a new type is a new row."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Case:
    """One layer, the shape of its input, and its numbers of input and output channels."""

    name: str
    make: Callable[[], nn.Module]
    shape: tuple[int, ...]  # of one batch of inputs
    inputs: int
    outputs: int

    def __str__(self) -> str:
        return self.name

    def input(self) -> Tensor:
        return torch.randn(self.shape)


def _channels_last(groups: int = 1) -> nn.Module:
    return nn.Conv2d(6, 8, 3, groups=groups).to(memory_format=torch.channels_last)


class Conv1D(nn.Module):
    """A stand-in for ``transformers.pytorch_utils.Conv1D``: a Linear that stores its weight as (inputs, outputs)."""

    def __init__(self, outputs: int, inputs: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.randn(inputs, outputs)), nn.Parameter(torch.randn(outputs))

    def forward(self, x: Tensor) -> Tensor:
        y = torch.addmm(self.bias, x.reshape(-1, x.shape[-1]), self.weight)
        return y.reshape(*x.shape[:-1], len(self.bias))


Conv1D.__module__ = "transformers.pytorch_utils"  # the library knows the type by this name

LAYERS = [
    Case("linear", lambda: nn.Linear(6, 8), (3, 6), 6, 8),
    Case("linear-no-bias", lambda: nn.Linear(6, 8, bias=False), (3, 5, 6), 6, 8),
    Case("linear-one-input", lambda: nn.Linear(1, 8), (3, 1), 1, 8),
    Case("linear-one-output", lambda: nn.Linear(6, 1), (3, 6), 6, 1),
    Case("transformers-conv1d", lambda: Conv1D(8, 6), (3, 6), 6, 8),
    Case("conv1d", lambda: nn.Conv1d(6, 8, 3), (2, 6, 9), 6, 8),
    Case("conv2d", lambda: nn.Conv2d(6, 8, 3, padding=1), (2, 6, 5, 5), 6, 8),
    Case("conv2d-1x1", lambda: nn.Conv2d(6, 8, 1, bias=False), (2, 6, 5, 5), 6, 8),
    Case("conv2d-one-input", lambda: nn.Conv2d(1, 8, (3, 2)), (2, 1, 5, 5), 1, 8),
    Case("conv2d-channels-last", _channels_last, (2, 6, 5, 5), 6, 8),
    Case("conv2d-grouped", lambda: nn.Conv2d(6, 8, 3, groups=2), (2, 6, 5, 5), 6, 8),
    Case("conv2d-grouped-channels-last", lambda: _channels_last(groups=2), (2, 6, 5, 5), 6, 8),
    Case("conv2d-depthwise", lambda: nn.Conv2d(6, 12, 3, groups=6), (2, 6, 5, 5), 6, 12),
    Case("conv2d-reflect", lambda: nn.Conv2d(6, 8, 3, padding=1, padding_mode="reflect"), (2, 6, 5, 5), 6, 8),
    Case("conv3d", lambda: nn.Conv3d(6, 8, (1, 2, 3)), (2, 6, 4, 4, 4), 6, 8),
    Case("transposed1d", lambda: nn.ConvTranspose1d(6, 8, 3, stride=2), (2, 6, 5), 6, 8),
    Case("transposed1d-grouped", lambda: nn.ConvTranspose1d(6, 8, 3, groups=2), (2, 6, 5), 6, 8),
    Case("transposed2d", lambda: nn.ConvTranspose2d(6, 8, 3, stride=2, output_padding=1), (2, 6, 5, 5), 6, 8),
    Case("transposed2d-grouped", lambda: nn.ConvTranspose2d(6, 8, 3, groups=2), (2, 6, 5, 5), 6, 8),
    Case("transposed3d", lambda: nn.ConvTranspose3d(6, 8, 2), (2, 6, 3, 3, 3), 6, 8),
]
assert LAYERS

WIDE = Case("linear-wide", lambda: nn.Linear(40_000, 9), (1, 40_000), 40_000, 9)
