"""Tying held by projection: the paper's stage (ii), rows bit-equal after every step, the same training as tie_'s."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

import torch_growl as tg
from tests.support.small_mlp import mlp, step
from torch_growl.errors import InvalidValueError, LayerError
from torch_growl.networks.tying import HeldTying


def similar(dtype: torch.dtype = torch.float32) -> tuple[nn.Sequential, tg.Tying]:
    """A network whose first layer has pairs of similar rows and a pruned one, and its tying."""
    model = mlp().to(dtype)
    with torch.no_grad():
        model.fc1.weight[:, 1] = model.fc1.weight[:, 0] * 1.001
        model.fc1.weight[:, 3] = model.fc1.weight[:, 2] * 1.001
        model.fc1.weight[:, 4] = 0
    tying = tg.find_tying(model, ["fc1"], preference=0.95)
    assert (tying["fc1"].partition.n_groups, tying["fc1"].partition.nonzero) == (7, 9)
    return model, tying


@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.AdamW])
def test_rows_stay_equal_and_pruned_ones_zero_while_plain_weights_train(kind: type[torch.optim.Optimizer]) -> None:
    model, tying = similar()
    optimizer = kind(model.parameters(), lr=0.05, weight_decay=0.01)  # type: ignore[call-arg]
    before = model.fc1.weight.clone()
    held = HeldTying(model, tying, [optimizer])
    for seed in range(4):
        step(model, optimizer, seed)
        assert tying["fc1"].partition.holds(model.fc1.weight.T)
    assert not torch.equal(model.fc1.weight, before)
    held.remove()
    step(model, optimizer, 9)
    assert not tying["fc1"].partition.holds(model.fc1.weight.T)


def test_with_sgd_it_is_the_training_of_tied_parametrizations() -> None:
    model, tying = similar(torch.float64)
    other = tg.tie_(copy.deepcopy(model), tying)
    optimizers = [torch.optim.SGD(m.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-3) for m in (model, other)]
    HeldTying(model, tying, optimizers[:1])
    for i in range(6):
        x = torch.randn(32, 10, generator=torch.Generator().manual_seed(i), dtype=torch.float64)
        for each, optimizer in zip((model, other), optimizers, strict=True):
            optimizer.zero_grad()
            nn.functional.cross_entropy(each(x), (x[:, 0] > 0).long()).backward()
            optimizer.step()
    torch.testing.assert_close(model.fc1.weight, other.fc1.weight, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_tied_rows_are_not_changed_again(dtype: torch.dtype) -> None:
    model, tying = similar(dtype)
    held = HeldTying(model, tying, [])
    before = model.fc1.weight.clone()
    held.project_(model)
    assert torch.equal(model.fc1.weight, before)


def test_an_average_is_tied_in_the_same_way() -> None:
    model, tying = similar()
    held = HeldTying(model, tying, [])
    average = torch.optim.swa_utils.AveragedModel(mlp())
    held.project_(average)
    assert tying["fc1"].partition.holds(average.module.fc1.weight.T)


def test_other_networks_are_refused_and_left_as_they_are() -> None:
    _, tying = similar()
    other = nn.Sequential(nn.Linear(3, 2))
    before = copy.deepcopy(other.state_dict())
    with pytest.raises(LayerError, match="fc1"):
        HeldTying(other, tying, [])
    assert all(torch.equal(before[name], value) for name, value in other.state_dict().items())


def test_optimizers_of_several_sequences_of_weights_are_refused_by_name() -> None:
    schedulefree = pytest.importorskip("schedulefree")
    model, tying = similar()
    with pytest.raises(InvalidValueError, match="SGDScheduleFree trains several"):
        HeldTying(model, tying, [schedulefree.SGDScheduleFree(model.parameters(), lr=0.1)])
