"""Wirings of small networks, for the tests of the wiring's rules."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from torch_growl.networks.wiring import Wiring, wiring_of


class Between(nn.Module):
    """A convolution ``maker`` of 4 channels, a function of its output, and a layer ``reader``."""

    def __init__(self, between: Callable[[Tensor], Tensor], reader: nn.Module) -> None:
        super().__init__()
        self.maker, self.reader, self.between = nn.Conv2d(2, 4, 1), reader, between

    def forward(self, x: Tensor) -> Any:
        return self.reader(self.between(self.maker(x)))


def wired(model: nn.Module, *shape: int, **fixed: str) -> Wiring:
    """The wiring of a network in eval mode, run on random inputs of this shape."""
    return wiring_of(model.eval(), [((torch.randn(shape),), {})], fixed)


def inputs_of_channels(found: Wiring, layer: str = "reader", source: str = "maker") -> list[list[int]]:
    """For every output channel of the source that may be removed, the inputs of the layer that are removed with it."""
    inputs, outputs = found.inputs[layer], found.outputs[source]
    return [np.flatnonzero(inputs == c).tolist() for c in outputs if not found.pinned[c]]
