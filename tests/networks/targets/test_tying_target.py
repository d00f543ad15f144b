"""A target whose step ties rows too: the size is that of the compact network, and rows stay tied to the end."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import torch_growl as tg
from tests.support.channel_networks import network
from torch_growl.errors import GrowlWarning, InvalidTypeError, InvalidValueError
from torch_growl.networks.compaction import SumInputs
from torch_growl.networks.layers import rows_of
from torch_growl.networks.penalty import penalised_network

# the least-squares fit is refused where inputs are independent
pytestmark = pytest.mark.filterwarnings("ignore:compensation would make the outputs worse")

STEPS = 20  # the step that removes and ties is the seventh


def alike(dtype: torch.dtype = torch.float32) -> tuple[nn.Sequential, list[Tensor]]:
    """A network of 24 independent inputs, whose rows have six values with a little noise."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(24, 40), nn.Tanh(), nn.Linear(40, 3))
    with torch.no_grad():
        model[0].weight.copy_(torch.randn(40, 6)[:, torch.arange(24) % 6] / 3 + 0.001 * torch.randn(40, 24))
    return model.to(dtype), list(torch.randn(8, 60, 24).to(dtype))


def alike_convolution() -> tuple[nn.Sequential, list[Tensor]]:
    """A convolution whose 12 independent input channels have three filters' weights, read at 36 places."""
    torch.manual_seed(0)
    first = nn.Conv2d(12, 16, 3)
    with torch.no_grad():
        first.weight.copy_(torch.randn(16, 3, 3, 3)[:, torch.arange(12) % 3] / 3 + 0.001 * torch.randn(16, 12, 3, 3))
    return nn.Sequential(first, nn.Tanh(), nn.Flatten(), nn.Linear(256, 3)), list(torch.randn(4, 16, 12, 6, 6))


def trained(
    model: nn.Module, batches: list[Tensor], target: tg.Target, rate: float = 0.0, frozen: str = "", **given: Any
) -> tg.GrOWL:
    growl = tg.GrOWL(model, target=target, example_inputs=batches[0], **given)
    if frozen:
        model.get_submodule(frozen).weight.requires_grad_(False)
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate)
    growl.attach(optimizer, steps=STEPS)
    for number in range(STEPS):
        optimizer.zero_grad()
        model(batches[number % len(batches)]).square().mean().backward()
        optimizer.step()
    return growl


def test_rows_that_are_alike_are_tied_where_removing_them_would_cost() -> None:
    errors = {}
    for ties in (False, True):
        model, batches = alike()
        dense = copy.deepcopy(model)
        target = tg.Target(weights=0.5, compensate=batches, ties=ties)
        growl = trained(model, batches, target, layers=["0"], min_rows=1)
        errors[ties] = (model(batches[0]) - dense(batches[0])).square().mean().item()
        assert growl.progress.reached
    assert errors[True] < 1e-4 < 0.01 < errors[False]
    assert growl.nonzero()["0"] < int((model[0].weight != 0).any(0).sum())


@pytest.mark.parametrize(
    ("name", "of"),
    [
        ("alike", "weights"),
        ("alike", "macs"),
        ("alike", "bytes"),
        ("alike, bfloat16", "bytes"),
        ("alike convolution", "macs"),
        ("alike convolution", "weights"),
        pytest.param("1×1 shortcut and gate", "weights", marks=pytest.mark.slow),
    ],
)
def test_what_is_counted_is_what_compaction_makes_also_after_training(name: str, of: str) -> None:
    if name == "alike convolution":
        model, batches = alike_convolution()
    elif name.startswith("alike"):
        model, batches = alike(torch.bfloat16 if "16" in name else torch.float32)
    else:
        model, batches = network(name)[0], list(torch.randn(4, 16, 3, 10, 10))
    target = tg.Target(**{of: 0.6}, compensate=batches, ties=True)
    layers = ["0"] if name == "alike convolution" else None
    growl = trained(model, batches, target, rate=0.01, min_rows=2, layers=layers)
    progress = growl.progress
    assert progress.reached
    assert progress.phase == "holding"
    small = tg.compact(model.eval(), batches[0])
    real = getattr(tg.measure(small, batches[0], latency=False), of)
    assert real == progress.left if of != "bytes" else real <= progress.left
    if name.startswith("alike"):
        assert any(isinstance(module, SumInputs) for module in small.modules())
        assert progress.rows["0"] == len(torch.unique(rows_of(model[0])[(rows_of(model[0]) != 0).any(1)], dim=0))


@pytest.mark.parametrize("interrupted_at", [3, 12])
def test_a_resumed_training_is_the_same(interrupted_at: int) -> None:
    runs = []
    for interrupted in (False, True):
        model, batches = alike()
        given: dict[str, Any] = {
            "target": tg.Target(weights=0.5, compensate=batches, ties=True),
            "example_inputs": batches[0],
        }
        growl, optimizer = tg.GrOWL(model, **given), torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        growl.attach(optimizer, steps=STEPS)
        for number in range(STEPS):
            if interrupted and number == interrupted_at:
                state = copy.deepcopy((model.state_dict(), optimizer.state_dict(), growl.state_dict()))
                model, _ = alike()
                optimizer, growl = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9), tg.GrOWL(model, **given)
                model.load_state_dict(state[0])
                optimizer.load_state_dict(state[1])
                growl.load_state_dict(state[2])
                growl.attach(optimizer, steps=STEPS)
            optimizer.zero_grad()
            model(batches[number % 8]).square().mean().backward()
            optimizer.step()
        runs.append((model, str(growl.progress), growl.nonzero()))
    assert runs[0][1:] == runs[1][1:]
    assert all(torch.equal(a, b) for a, b in zip(runs[0][0].parameters(), runs[1][0].parameters(), strict=True))


def test_rows_of_a_frozen_layer_are_not_tied() -> None:
    model, batches = alike()
    before = model[0].weight.detach().clone()
    growl = trained(model, batches, tg.Target(weights=0.95, compensate=batches, ties=True), 0.01, frozen="0")
    assert growl.progress.reached
    left = (model[0].weight != 0).any(1)
    assert torch.equal(model[0].weight[left], before[left])


def test_where_the_choice_keeps_too_much_no_row_is_tied(monkeypatch: pytest.MonkeyPatch) -> None:
    two = {"0": np.array([0, 0, *range(2, 24)]), "2": np.arange(40)}
    monkeypatch.setattr(penalised_network, "chosen_rows", lambda *args, **kwargs: two)
    model, batches = alike()
    with pytest.warns(GrowlWarning, match="the rows that go are those of smallest norm"):
        growl = trained(model, batches, tg.Target(weights=0.5, compensate=batches, ties=True), 0.01)
    assert growl.progress.reached
    assert growl.state_dict()["tied"] == {}
    assert not torch.equal(model[0].weight[:, 0], model[0].weight[:, 1])


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("layers", [["2", "4"], None], ids=["of a frozen layer", "of a penalised layer"])
def test_rows_that_are_equal_already_count_as_one_only_where_they_stay_so(layers: list[str] | None, ties: bool) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 24), nn.Tanh(), nn.Linear(24, 16), nn.Tanh(), nn.Linear(16, 3))
    model[0].weight.data[:, 1:4] = model[0].weight.data[:, :1]
    batches = list(torch.randn(8, 32, 6))
    target = tg.Target(weights=0.5, ties=ties)
    growl = trained(model, batches, target, 0.0, "" if layers is None else "0", layers=layers, min_rows=2)
    assert growl.progress.reached  # without a warning that rows went by their norms
    assert 0.45 * growl.progress.dense < growl.progress.left
    small = tg.compact(model, batches[0])
    assert tg.measure(small, batches[0], latency=False).weights <= growl.progress.asked


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ({"weights": 0.5, "compensate": False}, InvalidValueError),
        ({"file_bytes": 0.5}, InvalidValueError),
        ({"file_bytes": 0.5, "compensate": [1, 2]}, InvalidValueError),
        ({"latency_ms": 0.5, "compensate": [1, 2]}, InvalidValueError),
    ],
)
def test_ties_need_batches_and_a_measure_that_is_counted_exactly(given: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error, match="ties need compensate, .* and weights, macs or bytes; got"):
        tg.Target(**given, ties=True)
    with pytest.raises(InvalidTypeError, match="ties must be True or False"):
        tg.Target(**given, ties=1)


def test_channels_are_not_tied() -> None:
    model, batches = alike()
    target = tg.Target(weights=0.5, compensate=batches, ties=True)
    with pytest.raises(InvalidValueError, match="ties takes side='input' and no path, got side='channel'"):
        tg.GrOWL(model, side="channel", target=target, example_inputs=batches[0])


def test_ties_are_a_part_of_what_a_target_is() -> None:
    batches = [torch.zeros(2, 3), torch.ones(2, 3)]
    tied = tg.Target(macs=0.5, compensate=batches, ties=True)
    assert tied != tg.Target(macs=0.5, compensate=batches)
    assert repr(tied) == "Target(macs=0.5, ties=True, compensate=2 batches)"
