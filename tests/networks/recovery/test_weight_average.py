"""The average of the weights along a training, resumed and written back."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

import torch_growl as tg
from tests.support.pruned_networks import set_rows_
from torch_growl.errors import InvalidValueError
from torch_growl.networks.recovery import WeightAverage
from torch_growl.networks.tying import existing_tying


def moved(model: nn.Module, step: int) -> None:
    generator = torch.Generator().manual_seed(step)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator))
        for module in model.modules():
            if isinstance(module, nn.BatchNorm1d):
                module.running_mean.add_(step)
                module.num_batches_tracked.fill_(step)


def test_it_is_the_exponential_average_of_weights_and_buffers() -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    average, wanted = WeightAverage(model, 0.6), None
    for step in range(12):
        moved(model, step)
        average.update()
        now = {name: value.clone() for name, value in model.state_dict().items()}
        decay = min(0.6, (1 + step) / (10 + step))
        wanted = now if wanted is None else {n: decay * wanted[n] + (1 - decay) * v for n, v in now.items()}
    average.write_()
    for name, value in model.state_dict().items():
        if value.is_floating_point():
            torch.testing.assert_close(value, wanted[name])
    assert int(model[1].num_batches_tracked) == 11


def test_a_resumed_average_is_the_uninterrupted_one() -> None:
    found = []
    for interrupted in (False, True):
        model = nn.Linear(2, 3)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.zero_()
        average = WeightAverage(model, 0.9)
        for step in range(8):
            if interrupted and step == 4:
                state = copy.deepcopy(average.state_dict())
                average = WeightAverage(model, 0.9)
                average.load_state_dict(state)
            moved(model, step)
            average.update()
        average.write_()
        found.append(model.weight.clone())
    assert torch.equal(*found)


def test_ties_and_zero_rows_of_a_tied_network_stay() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 4))
    equal = copy.deepcopy(model)
    set_rows_(equal[0], zero=[1], tied=[(2, 3)])
    tg.tie_(model, existing_tying(equal, ["0"]))
    average = WeightAverage(model, 0.5)
    for step in range(3):
        moved(model, step)
        average.update()
    average.write_()
    weight = model[0].weight
    assert torch.equal(weight[:, 2], weight[:, 3])
    assert not weight[:, 1].any()


class Masked(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mask", torch.tensor([0.0, -torch.inf]))
        self.register_buffer("late", torch.tensor([torch.inf, 2.0]))


def test_values_that_are_not_finite_are_taken_as_they_are() -> None:
    model = Masked()
    average = WeightAverage(model, 0.5)
    for value in (torch.inf, torch.inf, 3.0):
        model.late[0] = value
        average.update()
    average.write_()
    assert model.mask.tolist() == [0.0, -torch.inf]
    assert model.late.tolist() == [3.0, 2.0]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
def test_an_average_of_every_precision_follows_small_steps(dtype: torch.dtype) -> None:
    model = nn.Linear(1, 1, bias=False).to(dtype)
    average, wanted, state = WeightAverage(model, 0.999), 0.0, {}
    for step in range(600):
        value = torch.tensor(1 + step / 600, dtype=dtype)
        with torch.no_grad():
            model.weight.fill_(value)
        if step == 300:
            average = WeightAverage(model, 0.999)
            average.load_state_dict(state)
        average.update()
        state = average.state_dict()
        decay = min(0.999, (1 + step) / (10 + step)) if step else 0.0
        wanted = decay * wanted + (1 - decay) * float(value)
    average.write_()
    torch.testing.assert_close(model.weight.item(), wanted, rtol=torch.finfo(dtype).eps + 1e-5, atol=0)


@pytest.mark.parametrize("decay", [0.0, 1.0])
def test_a_decay_out_of_range_is_refused(decay: float) -> None:
    with pytest.raises(InvalidValueError, match="decay must be"):
        WeightAverage(nn.Linear(2, 3), decay)
