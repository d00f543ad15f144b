"""What a layer has besides its weights is kept in the smaller one: flags, memory format, names, statistics."""

from __future__ import annotations

import torch
from torch import nn

from tests.support.compact_battery import Shared, pruned_mlp, vgg
from tests.support.pruned_networks import zero_and_tie_
from torch_growl.networks.compaction.compactor import compact
from torch_growl.networks.compaction.structure import structure_of


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
