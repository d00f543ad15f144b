"""What the tables of networks that other tools fail on are made of: the entry, the network, the damage."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from tests.support.pruned_networks import settle_
from torch_growl.networks.layers import kind_of, rows_of, write_rows_

__all__ = ["Report", "Rule", "net"]


class Rule(nn.Module):
    """Layers by name, and the function that the network computes with them."""

    def __init__(self, rule: Callable[..., Any], layers: dict[str, nn.Module]) -> None:
        super().__init__()
        self.rule = rule
        for name, layer in layers.items():
            setattr(self, name, layer)

    def forward(self, *inputs: Tensor) -> Any:
        return self.rule(self, *inputs)


def net(rule: Callable[..., Any], layers: Callable[[], dict[str, nn.Module]]) -> Callable[[], nn.Module]:
    """Return a function that builds the network of a rule, with new weights at each call."""
    return lambda: Rule(rule, layers())


@dataclass(frozen=True)
class Report:
    """One construct that other tools fail on.

    Attributes:
        name: the construct.
        make: builds the network.
        shapes: the shapes of the inputs, without the batch.
        cut: layers that lose output channels; empty: only their own inputs are removed, for a reason.
        tokens: the inputs are integers below this number; 0: they are real numbers.
        block: rows are zeroed in blocks of this size, such as the channels of one head.
    """

    name: str
    make: Callable[[], nn.Module]
    shapes: tuple[tuple[int, ...], ...]
    cut: tuple[str, ...] = ()
    tokens: int = 0
    block: int = 1

    def __str__(self) -> str:
        return self.name

    def build(self, seed: int) -> nn.Module:
        """Build the network in eval mode."""
        torch.manual_seed(seed)
        return settle_(self.make()).eval()

    def pruned(self, seed: int) -> nn.Module:
        """Build the network, zero every second row (or block of rows) of every layer, and tie two of the others."""
        model = self.build(seed)
        for module in model.modules():
            if kind_of(module) is None:
                continue
            rows = rows_of(module).detach().clone()
            if len(rows) > 4 * self.block:
                rows[4 * self.block] = rows[0]
            rows[[row for row in range(len(rows)) if row // self.block % 2]] = 0
            weight = module.weight.detach().clone()
            write_rows_(module, rows, weight=weight)
            if parametrize.is_parametrized(module, "weight"):
                module.weight = weight
            else:
                module.weight.data.copy_(weight)
        return model

    def inputs(self, batch: int, seed: int) -> tuple[Tensor, ...]:
        """Draw inputs for a batch."""
        generator = torch.Generator().manual_seed(seed)
        if self.tokens:
            return tuple(torch.randint(self.tokens, (batch, *shape), generator=generator) for shape in self.shapes)
        return tuple(torch.randn(batch, *shape, generator=generator) for shape in self.shapes)
