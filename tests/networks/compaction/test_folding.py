"""Sums of tied inputs are moved into the layer before, where only linear operations lie between the two layers."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from tests.support.pruned_networks import set_rows_, settle_
from torch_growl.networks.compaction.compactor import compact
from torch_growl.networks.compaction.inputs import SelectInputs, SumInputs
from torch_growl.networks.compaction.structure import structure_of
from torch_growl.networks.storage.compact_file import load, load_dense, save


def settled(*layers: nn.Module) -> nn.Sequential:
    return settle_(nn.Sequential(*layers)).eval()


CHAINS = {
    "two linear layers": (lambda: settled(nn.Linear(9, 20), nn.Linear(20, 4), nn.ReLU()), (3, 9)),
    "without biases": (lambda: settled(nn.Linear(9, 20, bias=False), nn.Linear(20, 4, bias=False)), (3, 9)),
    "dropout and pooling": (
        lambda: settled(nn.Conv2d(3, 20, 3), nn.Dropout(), nn.AvgPool2d(2), nn.Conv2d(20, 4, 1), nn.ReLU()),
        (2, 3, 8, 8),
    ),
    "a batch normalisation": (
        lambda: settled(nn.Conv2d(3, 20, 3), nn.BatchNorm2d(20), nn.Conv2d(20, 4, 1), nn.ReLU()),
        (2, 3, 6, 6),
    ),
    "one after a bias-free convolution": (
        lambda: settled(nn.Conv2d(3, 20, 3, bias=False), nn.BatchNorm2d(20), nn.Conv2d(20, 4, 1)),
        (2, 3, 6, 6),
    ),
    "transposed": (
        lambda: settled(nn.ConvTranspose2d(3, 20, 2), nn.BatchNorm2d(20), nn.ConvTranspose2d(20, 4, 1)),
        (2, 3, 6, 6),
    ),
}


@pytest.mark.parametrize("name", CHAINS)
def test_in_a_linear_chain_the_layer_before_makes_the_sums(name: str, tmp_path: Path) -> None:
    build, shape = CHAINS[name]
    model, x = build(), torch.randn(shape)
    reader = [module for module in model if type(module) in (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)][1]
    set_rows_(reader, zero=[17, 19], tied=[range(5, 12), range(12, 16)])
    before = {name: value.clone() for name, value in model.state_dict().items()}
    small = compact(model, x)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    first, second = structure_of(small).layers
    assert (first.outputs_left, second.width) == (9, 9)
    assert not any(isinstance(module, SumInputs | SelectInputs) for module in small.modules())
    torch.testing.assert_close(small(x), model(x), rtol=1e-4, atol=1e-5)
    save(small, tmp_path / "f")
    assert torch.equal(load(tmp_path / "f", build())(x), small(x))
    torch.testing.assert_close(load_dense(tmp_path / "f", build())(x), model(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "between",
    [nn.ReLU(), nn.Sequential(nn.BatchNorm1d(20), nn.Tanh()), nn.BatchNorm1d(20, affine=False), nn.PReLU(20)],
)
def test_sums_are_not_moved_through_what_is_not_linear(between: nn.Module) -> None:
    model = settled(nn.Linear(9, 20), between, nn.Linear(20, 12))
    with torch.no_grad():
        model[2].weight[:, 6:] = model[2].weight[:, 5:6]
    small = compact(model, torch.randn(3, 9))
    assert structure_of(small).layers[0].outputs_left == 20
    assert isinstance(small[2].inputs, SumInputs)


def test_sums_are_not_moved_where_another_layer_reads_the_same() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c = nn.Linear(9, 20), nn.Linear(20, 12), nn.Linear(20, 12)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            x = self.a(x)
            return self.b(x), self.c(x)

    model = Two()
    with torch.no_grad():
        model.b.weight[:, 6:] = model.b.weight[:, 5:6]
    small = compact(model, torch.randn(3, 9))
    assert structure_of(small).layers[0].outputs_left == 20
