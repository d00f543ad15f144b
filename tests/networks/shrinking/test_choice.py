"""The choice of rows: by least squares, not by norms, and the same in a training as without one."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from torch_growl.mathematics.clustering import PRUNED
from torch_growl.networks.shrinking import alike_channels, chosen_rows, with_rows_left
from torch_growl.networks.targets import Counter


def with_stand_ins() -> tuple[nn.Module, list[Tensor]]:
    """Eight channels: four that nothing replaces, read by small rows; four copies of two of them, by large rows."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8, bias=False), nn.Linear(8, 5))
    with torch.no_grad():
        model[0].weight.zero_()
        model[0].weight[:4] = torch.eye(4)
        model[0].weight[4:, :2] = torch.tensor([[1.0, 2.0], [2.0, -1.0], [1.0, 1.0], [-1.0, 1.0]])
        model[1].weight[:, :4] *= 0.1
    return model.eval(), [torch.randn(40, 4) for _ in range(4)]


def rows(
    model: nn.Module, batches: list[Tensor], layers: list[str], asked: float, least: int = 1
) -> dict[str, list[int]]:
    counter = Counter(model, batches[0])
    sizes = {name: model.get_submodule(name).in_features for name in layers}
    kinds = with_rows_left(alike_channels(counter.wiring, layers), sizes, least)
    whole = counter.dense.weights
    labels = chosen_rows(model, batches, counter, kinds, "weights", asked * whole)
    found = {name: own == PRUNED for name, own in labels.items()}
    assert counter.left(found).weights <= asked * whole or asked == 0
    return {name: np.flatnonzero(own).tolist() for name, own in found.items()}


def test_rows_go_that_others_can_stand_in_for_though_they_are_the_largest() -> None:
    model, batches = with_stand_ins()
    gone = rows(model, batches, ["1"], 0.55)["1"]
    assert len(gone) == 4
    assert not {2, 3} & set(gone), "nothing else carries these"


def test_so_many_rows_stay_as_are_asked_for() -> None:
    model, batches = with_stand_ins()
    assert [len(rows(model, batches, ["1"], 0, least).get("1", [])) for least in (1, 3, 8)] == [7, 5, 0]


def test_all_but_the_least_number_of_many_rows_go_where_less_is_not_enough() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 60), nn.ReLU(), nn.Linear(60, 2)).eval()
    batches = [torch.randn(80, 3) for _ in range(2)]
    assert [len(rows(model, batches, ["2"], 0, least).get("2", [])) for least in (1, 2)] == [59, 58]
    assert len(rows(model, batches, ["2"], 14.5 / 362)["2"]) == 58, "and no more than asked for"


class Joined(nn.Module):
    """A layer that reads channels of two kinds, and one that reads the first kind too."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.own, self.both = nn.Linear(3, 6), nn.Linear(3, 12), nn.Linear(6, 2), nn.Linear(18, 2)

    def forward(self, x: Tensor) -> Tensor:
        a, b = torch.tanh(self.a(x)), torch.tanh(self.b(x))
        return self.own(a) + self.both(torch.cat([a, b], 1))


def test_a_layer_that_reads_several_kinds_keeps_rows_of_each_in_proportion() -> None:
    model = Joined()
    counter = Counter(model, torch.randn(4, 3))
    kinds = {kind.readers: kind for kind in alike_channels(counter.wiring, ["own", "both"])}
    sizes = {"own": 6, "both": 18}
    for least, expected in ((1, (1, 1)), (6, (6, 4)), (4, (4, 3)), (9, (6, 6))):
        found = with_rows_left([kinds["own", "both"], kinds["both",]], sizes, least)
        assert tuple(kind.least for kind in found) == expected
