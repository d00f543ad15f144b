"""The table of hostile networks: each is a name, a family, the function that the network computes, and an example.

Most are two layers of 24 channels between them, of which no layer reads 8, with other code around them. That code is a
function of the network and its input, so that one line says what is dangerous.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["FAMILIES", "Hostile", "Net", "hostile_networks"]

Rule = Callable[[Any, Tensor], Any]
CHANNELS = 24


class Net(nn.Module):
    """Layers ``a`` and ``b``, others that a rule may use, and the rule."""

    def __init__(self, rule: Rule, layers: Callable[[], dict[str, nn.Module]]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.rule = rule
        self.calls = 0
        self.last: Any = None
        self.register_buffer("seen", torch.zeros(()))
        for name, layer in layers().items():
            setattr(self, name, layer)
        with torch.no_grad():
            self.b.weight[:, 1::3] = 0  # type: ignore[union-attr, index]

    def forward(self, x: Tensor) -> Any:
        return self.rule(self, x)


@dataclass(frozen=True)
class Hostile:
    """One hostile network.

    Attributes:
        name: what is hostile about it.
        family: the kind of danger.
        build: makes the network, in eval mode.
        example: makes the example inputs.
    """

    name: str
    family: str
    build: Callable[[], nn.Module]
    example: Callable[[], Tensor]


def linears() -> dict[str, nn.Module]:
    """Two linear layers."""
    return {"a": nn.Linear(12, CHANNELS), "b": nn.Linear(CHANNELS, 5)}


def convolutions() -> dict[str, nn.Module]:
    """Two convolutions."""
    return {"a": nn.Conv2d(3, CHANNELS, 3, padding=1), "b": nn.Conv2d(CHANNELS, 5, 1)}


def with_embedding() -> dict[str, nn.Module]:
    """Two linear layers after an embedding of 50 tokens."""
    return {"table": nn.Embedding(50, 12), **linears()}


def with_middle() -> dict[str, nn.Module]:
    """Two linear layers, a third one between them, and a normalisation."""
    return {**linears(), "m": nn.Linear(CHANNELS, CHANNELS), "norm": nn.LayerNorm(CHANNELS)}


def rows() -> Tensor:
    """Four examples of 12 features."""
    return torch.randn(4, 12, generator=torch.Generator().manual_seed(1))


def sequence() -> Tensor:
    """Four sequences of 6 places."""
    return torch.randn(4, 6, 12, generator=torch.Generator().manual_seed(1))


def image() -> Tensor:
    """Four images of 8 × 8."""
    return torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def tokens() -> Tensor:
    """Four sequences of 6 tokens below 20."""
    return torch.randint(20, (4, 6), generator=torch.Generator().manual_seed(1))


def gated(h: Tensor) -> Tensor:
    """Multiply all channels by channel 1, which the second layer does not read."""
    return h * h[..., 1:2]


def usual(net: Any, x: Tensor) -> Tensor:
    """The network without anything hostile."""
    y: Tensor = net.b(net.a(x).relu())
    return y


def hostile_networks() -> list[Hostile]:
    """Return the whole table, about a hundred networks."""
    from benchmarks.architectures.hostile import branches, closed, code

    found = []
    for family, table in {**branches.TABLES, **closed.TABLES, **code.TABLES}.items():
        for name, (rule, layers, example) in table.items():

            def build(rule: Rule = rule, layers: Any = layers) -> nn.Module:
                return Net(rule, layers).eval()

            found.append(Hostile(name, family, build, example))
    return found


FAMILIES = ("branches", "state", "closed outputs", "widths", "code outside torch", "unusual code")
