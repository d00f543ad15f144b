"""The cost of every layer: worked out by hand, under its dense name, and nothing counted twice."""

from __future__ import annotations

import torch
from torch import Tensor, nn

import torch_growl as tg
from torch_growl.networks.measurement.layer_counts import layer_costs


def counted(model: nn.Module, x: object) -> dict[str, tuple[int, int]]:
    return {name: (cost.weights, cost.macs) for name, cost in layer_costs(model, x).items()}


def test_a_compact_network_has_the_names_of_the_dense_one() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(128, 5))
    with torch.no_grad():
        model[0].weight[:, 1] = model[0].weight[:, 0]  # type: ignore[index]  # two inputs tied: summed before it
        model[3].weight[:, :32] = 0  # type: ignore[index]  # the first two channels are not read
    x = torch.randn(4, 3, 4, 4)
    assert counted(model, x) == {"0": (8 * 27 + 8, 216 * 16), "3": (128 * 5 + 5, 640)}
    assert counted(tg.compact(model, x), x) == {"0": (6 * 18 + 6, 108 * 16), "3": (96 * 5 + 5, 480)}


class Shared(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table, self.last = nn.Embedding(10, 6), nn.Linear(6, 10, bias=False)
        self.last.weight = self.table.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.table(x))  # type: ignore[no-any-return]


def test_a_shared_weight_counts_once() -> None:
    found = counted(Shared(), torch.zeros(2, 3, dtype=torch.int64))
    assert sum(weights for weights, _ in found.values()) == 60
    assert found["last"][1] == 3 * 60
