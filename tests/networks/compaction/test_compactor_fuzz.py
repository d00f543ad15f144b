"""Random networks with random zero and tied rows: the compact networks have the same outputs, and none is refused."""

from __future__ import annotations

import random
import warnings

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.support.pruned_networks import set_rows_, settle_
from torch_growl.errors import GrowlWarning
from torch_growl.networks.compaction.compactor import compact
from torch_growl.networks.compaction.structure import structure_of
from torch_growl.networks.layers import kind_of, rows_of
from torch_growl.networks.wiring.needed import needed_channels
from torch_growl.networks.wiring.wiring import wiring_of

KINDS = [
    "conv",
    "conv",
    "conv",
    "grouped",
    "depthwise",
    "add",
    "cat",
    "gate",
    "chunk",
    "norm",
    "relu",
    "groups",
    "glu",
    "shuffle",
    "attend",
    "scale",
]


class Drawn(nn.Module):
    """A graph of convolutions and what real networks put between them, drawn from a seed."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.chance = random.Random(seed)
        self.parts = nn.ModuleDict()
        self.steps: list[tuple[str, tuple[int, ...], str]] = []
        channels = [3]
        for number in range(self.chance.randint(4, 10)):
            kind = self.chance.choice(KINDS)
            a = self.chance.randrange(len(channels))
            same = [i for i, c in enumerate(channels) if c == channels[a] and i != a]
            name, width = str(number), channels[a]
            others: tuple[int, ...] = (a,)
            if kind in ("grouped", "groups", "shuffle") and width % 4:
                kind = "conv"
            if kind in ("chunk", "glu", "attend") and width % 8:
                kind = "conv"
            if kind == "conv":
                width = self.chance.choice([8, 12, 16])
                self.parts[name] = nn.Conv2d(channels[a], width, self.chance.choice([1, 3]), padding="same")
            elif kind == "grouped":
                self.parts[name] = nn.Conv2d(width, 8, 3, padding=1, groups=4)
                width = 8
            elif kind == "depthwise":
                self.parts[name] = nn.Conv2d(width, 2 * width, 3, padding=1, groups=width)
                width = 2 * width
            elif kind == "add":
                others = (a, self.chance.choice(same)) if same else (a, a)
            elif kind == "cat":
                others = (a, self.chance.randrange(len(channels)))
                width = channels[others[0]] + channels[others[1]]
            elif kind == "gate":
                self.parts[name] = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(width, width, 1), nn.Sigmoid())
            elif kind in ("chunk", "glu"):
                width //= 2
            elif kind == "norm":
                self.parts[name] = nn.BatchNorm2d(width)
            elif kind == "groups":
                self.parts[name] = nn.GroupNorm(4, width)
            elif kind == "attend":
                self.parts[name] = nn.Conv2d(width, 3 * width, 1)
            elif kind == "scale":
                self.parts[name] = nn.PReLU(width)
            self.steps.append((kind, others, name))
            channels.append(width)
        self.head = nn.Linear(channels[-1], 5)
        self.side = nn.Conv2d(channels[-2], 2, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        values = [x]
        for kind, others, name in self.steps:
            x = values[others[0]]
            if kind == "add":
                x = x + values[others[1]]
            elif kind == "cat":
                x = torch.cat([x, values[others[1]]], 1)
            elif kind == "gate":
                x = x * self.parts[name](x)
            elif kind == "chunk":
                a, b = x.chunk(2, 1)
                x = F.silu(a) * b
            elif kind == "glu":
                x = F.glu(x, 1)
            elif kind == "relu":
                x = F.relu(x)
            elif kind == "shuffle":
                b, c, h, w = x.shape
                x = x.view(b, 4, c // 4, h, w).transpose(1, 2).reshape(b, c, h, w)
            elif kind == "attend":
                b, c, h, w = x.shape
                q, k, v = self.parts[name](x).flatten(2).view(b, 3, 4, -1, h * w).transpose(-1, -2).unbind(1)
                x = F.scaled_dot_product_attention(q, k, v).transpose(-1, -2).reshape(b, -1, h, w)
            else:
                x = self.parts[name](x)
            values.append(x)
        return self.head(values[-1].mean((2, 3))), self.side(values[-2])


def damage_(model: nn.Module, x: Tensor, seed: int) -> None:
    """Zero the rows that all readers have for some channels, and some rows more; tie two pairs in every layer."""
    chance = random.Random(seed)
    wiring = wiring_of(model.eval(), [((x,), {})])
    gone = [c for c in range(1, wiring.count) if not wiring.pinned[c] and chance.random() < 0.4]
    for name, layer in model.named_modules():
        if kind_of(layer) is None or layer.weight.shape[0] == 2:
            continue
        channels = wiring.inputs[name].tolist() if name in wiring.inputs else []
        set_rows_(layer, zero=[row for row, c in enumerate(channels) if c in gone or chance.random() < 0.1])
        count = len(rows_of(layer))
        for _ in range(2):
            row, other = chance.randrange(count), chance.randrange(count)
            set_rows_(layer, tied=[(other, row)])


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(60))
def test_random_networks_have_the_same_outputs_when_compact(seed: int) -> None:
    torch.manual_seed(seed)
    model = settle_(Drawn(seed)).eval()
    x = torch.randn(2, 3, 6, 6)
    damage_(model, x, seed)
    layers = {name: module for name, module in model.named_modules() if kind_of(module) is not None}
    free = ~needed_channels(layers, wiring_of(model, [((x,), {})]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", GrowlWarning)
        small = compact(model, x)
    fresh = torch.randn(3, 3, 8, 5)
    for a, b in zip(model(fresh), small(fresh), strict=True):
        assert (a - b).abs().max() <= 1e-4 * a.abs().max()
    found = structure_of(small)
    if not any("given up" in layer.reason for layer in found.layers):
        removed = sum(layer.outputs - layer.outputs_left for layer in found.layers)
        assert (removed > 0) == bool(free.any())
