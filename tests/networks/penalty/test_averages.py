"""Running averages of a network: they get its pruned rows, and everything takes them as it takes the network."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

import torch_growl as tg
from tests.support.small_mlp import mlp, step
from torch_growl.errors import LayerError


def trained() -> tuple[nn.Module, AveragedModel, tg.GrOWL]:
    """A network with pruned rows and its exponential average, which has none."""
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.99))
    growl = tg.GrOWL(model, 12.0, min_rows=1)
    growl.attach(optimizer, warmup=40)
    for i in range(60):
        step(model, optimizer, i)
        average.update_parameters(model)
    return model.eval(), average.eval(), growl


def zero(layer: nn.Module) -> list[bool]:
    return (layer.weight == 0).all(dim=0).tolist()


@pytest.mark.filterwarnings("ignore::torch_growl.errors.GrowlWarning")
def test_an_average_gets_the_pruned_rows_and_becomes_as_small(tmp_path: Path) -> None:
    model, average, growl = trained()
    x = torch.randn(8, 10)
    assert sum(zero(model.fc1)) > 0
    assert not any(zero(average.module.fc1)), "an average does not reach zero by itself"
    kept = average.module.fc1.weight.detach().clone()
    growl.average_(average)
    for name in growl.layers:
        assert zero(average.module.get_submodule(name)) == zero(model.get_submodule(name))
    there = ~torch.tensor(zero(model.fc1))
    assert torch.equal(average.module.fc1.weight[:, there], kept[:, there])
    tying = tg.find_tying(average, growl.layers, method="none")
    assert [layer.name for layer in tying] == list(growl.layers)
    assert tying["fc1"].partition.nonzero == growl.nonzero()["fc1"]
    small, of_average = tg.compact(model, x), tg.compact(average, x)
    assert sum(p.numel() for p in of_average.parameters()) == sum(p.numel() for p in small.parameters())
    torch.testing.assert_close(of_average(x), average(x), rtol=1e-4, atol=1e-5)
    tg.save(of_average, tmp_path / "small.growl")
    loaded = tg.load(tmp_path / "small.growl", AveragedModel(mlp().eval()))
    torch.testing.assert_close(loaded(x), of_average(x))
    tg.tie_(average, tying)
    assert zero(average.module.fc1) == zero(model.fc1)


def test_a_penalty_on_an_average_is_one_on_its_network() -> None:
    average = AveragedModel(mlp())
    assert tg.GrOWL(average).layers == tg.GrOWL(mlp()).layers == ("fc1", "fc2")


def test_a_network_of_other_layers_is_no_average_and_stays_as_it_is() -> None:
    growl = tg.GrOWL(mlp())
    growl._step.pruned(0)[:] = True
    other = mlp()
    other.fc2 = nn.Linear(9, 12)
    before = other.fc1.weight.detach().clone()
    with pytest.raises(LayerError, match="'fc2.weight' has shape"):
        growl.average_(other)
    other.fc2 = nn.Linear(16, 13)
    with pytest.raises(LayerError, match="'fc2.weight' has shape"):
        growl.average_(other)
    other.fc2 = nn.ReLU()
    with pytest.raises(LayerError, match="no layer 'fc2' with a plain weight"):
        growl.average_(other)
    assert torch.equal(other.fc1.weight, before)
