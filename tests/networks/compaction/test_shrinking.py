"""A smaller layer keeps flags, memory format and names; parameters of other modules lose the same channels."""

from __future__ import annotations

import copy
from pathlib import Path

import torch
from torch import Tensor, nn

from tests.support.compact_battery import Shared, pruned_mlp, vgg
from tests.support.compaction_checks import assert_same_outputs
from tests.support.pruned_networks import zero_and_tie_
from torch_growl.networks.compaction.compactor import compact
from torch_growl.networks.compaction.expanding import expand_
from torch_growl.networks.compaction.structure import structure_of
from torch_growl.networks.storage.compact_file import load, load_dense, save


def test_memory_format_is_carried_over() -> None:
    model = zero_and_tie_(vgg().to(memory_format=torch.channels_last), 4)
    small = compact(model, torch.randn(2, 3, 8, 8).to(memory_format=torch.channels_last))
    weights = [m.weight for m in small.modules() if isinstance(m, nn.Conv2d)]
    assert weights
    assert all(w.is_contiguous(memory_format=torch.channels_last) and not w.is_contiguous() for w in weights)


def test_flags_are_carried_over_one_by_one() -> None:
    model = pruned_mlp()
    model.fc1.bias.requires_grad_(False)
    model.bn.eval()
    model.fc2.eval()
    small = compact(model, torch.randn(3, 20))
    assert [n for n, p in small.named_parameters() if not p.requires_grad] == ["fc1.layer.bias"]
    assert [n for n, m in small.named_modules() if not m.training] == ["fc2", "bn"]


def test_a_single_layer_is_a_network_too() -> None:
    model = nn.Linear(30, 8)
    with torch.no_grad():
        model.weight[:, :20] = 0
    small = compact(model, torch.randn(3, 30))
    assert small.layer.weight.shape == (8, 10)
    assert structure_of(small).layers[0].name == ""


def test_a_module_under_two_names_stays_one() -> None:
    small = compact(zero_and_tie_(Shared()), torch.randn(3, 8))
    assert small.f is small.again
    assert isinstance(small.f, nn.Sequential)


class Grid(nn.Module):
    """A parameter whose two dimensions are the channels of two layers."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.head = nn.Linear(6, 8), nn.Linear(6, 8), nn.Linear(64, 2)
        self.scale = nn.Parameter(torch.randn(8, 8), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.head((self.a(x)[:, :, None] * self.scale * self.b(x)[:, None, :]).flatten(1))


def test_a_parameter_is_cut_along_both_of_its_dimensions(tmp_path: Path) -> None:
    model, x = Grid(), torch.randn(3, 6)
    with torch.no_grad():
        weight = model.head.weight.view(2, 8, 8)
        weight[:, :3] = 0
        weight[:, :, :2] = 0
    small = compact(model, x)
    assert torch.equal(small.scale, model.scale[3:, 2:])
    assert not small.scale.requires_grad
    assert (small.a.out_features, small.b.out_features, small.head.in_features) == (5, 6, 30)
    assert_same_outputs(model, small, x)
    save(small, tmp_path / "file")
    assert torch.equal(load(tmp_path / "file", Grid())(x), small(x))
    assert_same_outputs(model, load_dense(tmp_path / "file", Grid()), x)


@torch.no_grad()
def test_padding_with_trained_weights_is_expanded_to_the_same_outputs() -> None:
    """Padding is fed by its group's first input, so its weights belong to that input."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 64, 1), nn.ReLU(), nn.Conv2d(64, 16, 1, groups=2)).eval()
    model[2].weight[:8, 4:] = 0  # four inputs of the first group are left, eight of the second
    model[2].weight[8:, 8:] = 0
    x = torch.randn(2, 3, 4, 4)
    small = compact(model, x, full=False)
    inner = small[2].layer
    assert bool((inner.weight[:8, 4:] == 0).all())  # padding
    inner.weight.add_(torch.rand_like(inner.weight))
    assert (expand_(copy.deepcopy(model), small)(x) - small(x)).abs().max() < 1e-5
