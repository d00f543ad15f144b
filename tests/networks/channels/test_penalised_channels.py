"""GrOWL(side="channel"): in training, with a target, over networks whose channels are coupled in different ways."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel

import torch_growl as tg
from tests.support.channel_networks import NETWORKS, network
from tests.support.compaction_checks import assert_same_outputs
from torch_growl.errors import GrowlWarning, InvalidValueError, LayerError

STEPS = 24


def train(model: nn.Module, optimizer: torch.optim.Optimizer, x: Tensor, y: Tensor, steps: int) -> None:
    for _ in range(steps):
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()


def momentum(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.filterwarnings("ignore:layer .* would have been emptied")
def test_channels_shrink_reach_zero_and_stay_there(name: str) -> None:
    model, x, y = network(name)
    growl = tg.GrOWL(model, 300.0, side="channel", example_inputs=x[:2], min_rows=2)
    optimizer = momentum(model)
    handle = growl.attach(optimizer)
    train(model, optimizer, x, y, STEPS)
    left = growl.nonzero()
    assert any(2 <= left[p.name] < len(p.lam) for p in growl._layers.values())
    growl.strength = 0.0
    train(model, optimizer, x, y, 3)
    assert growl.nonzero() == left, "neither momentum nor weight decay revive a channel"
    handle.remove()
    small = tg.compact(model.eval(), x)
    assert_same_outputs(model, small, -x)
    for p in growl._layers.values():
        maker = next(iter(p.rows.channels.makers))
        cut = next(layer for layer in tg.structure_of(small).layers if layer.name == maker)
        per_channel = p.rows.channels.makers[maker].shape[1]
        assert cut.outputs - cut.outputs_left >= per_channel * (len(p.lam) - left[p.name])


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_a_target_is_reached_and_only_channels_that_have_to_go_are_pressed(name: str) -> None:
    model, x, y = network(name)
    growl = tg.GrOWL(model, side="channel", example_inputs=x[:2], target=tg.Target(macs=0.8), min_rows=2)
    optimizer = momentum(model)
    growl.attach(optimizer, steps=STEPS)
    train(model, optimizer, x, y, STEPS)
    assert growl.progress.reached
    small = tg.compact(model.eval(), x)
    dense, left = (tg.measure(net, x[:1], latency=False).macs for net in (network(name)[0], small))
    assert 0.6 * dense < left <= 0.8 * dense
    assert_same_outputs(model, small, -x)


@pytest.mark.parametrize("target", [None, 0.6])
def test_a_resumed_training_is_the_uninterrupted_one(target: float | None) -> None:
    given: dict[str, Any] = {"strength": 2.0} if target is None else {"target": tg.Target(weights=target)}
    runs = []
    for interrupted in (False, True):
        model, x, y = network("plain CNN")
        growl = tg.GrOWL(model, side="channel", example_inputs=x[:2], **given)
        optimizer = momentum(model)
        steps = {} if target is None else {"steps": STEPS}
        growl.attach(optimizer, **steps)
        train(model, optimizer, x, y, STEPS // 2)
        if interrupted:
            state = copy.deepcopy((model.state_dict(), optimizer.state_dict(), growl.state_dict()))
            model, *_ = network("plain CNN")
            optimizer = momentum(model)
            growl = tg.GrOWL(model, side="channel", example_inputs=x[:2], **given)
            model.load_state_dict(state[0])
            optimizer.load_state_dict(state[1])
            growl.load_state_dict(state[2])
            growl.attach(optimizer, **steps)
        train(model, optimizer, x, y, STEPS - STEPS // 2)
        runs.append((model, growl.nonzero()))
    assert runs[0][1] == runs[1][1]
    assert any(left < whole for left, whole in zip(runs[0][1].values(), (12, 16), strict=True))
    assert all(torch.equal(a, b) for a, b in zip(runs[0][0].parameters(), runs[1][0].parameters(), strict=True))


def test_an_average_gets_the_zeros() -> None:
    model, x, _ = network("plain CNN")
    average = AveragedModel(model)
    growl = tg.GrOWL(model, side="channel", example_inputs=x[:2])
    growl._step.pruned(0)[[1, 2]] = True
    growl.average_(average)
    assert not average.module[0].weight[[1, 2]].any()
    assert not average.module[3].weight[:, [1, 2]].any()
    assert model[0].weight[[1, 2]].any()


def test_another_network_is_no_average_and_stays_as_it_is() -> None:
    model, x, _ = network("plain CNN")
    growl = tg.GrOWL(model, side="channel", example_inputs=x[:2])
    growl._step.pruned(0)[[1, 2]] = True
    for last in (nn.Identity(), nn.Linear(3, 3)):
        other = copy.deepcopy(model)
        other[7] = last
        with pytest.raises(LayerError):
            growl.average_(other)
        assert torch.equal(other[0].weight, model[0].weight)


def test_what_is_read_and_made_is_shown_and_named() -> None:
    model, x, _ = network("plain CNN")
    growl = tg.GrOWL(model, side="channel", example_inputs=x[:2], layers=["3"])
    assert growl.layers == ("3",)
    assert "0 read by 3: 12 channels of 144" in repr(growl)
    assert growl.left_out["7"] == "not asked for"
    assert growl.left_out["0"] == "the channels that it reads must stay: they are inputs, or mixed by an operation"
    assert growl.penalty().item() > 0


class Mixed(nn.Module):
    """A network of which no channel can be removed."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 6), nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.b(self.a(x).cumsum(1))


@pytest.mark.parametrize(
    ("make", "given", "kind", "message"),
    [
        (nn.Linear, {"example_inputs": None}, InvalidValueError, "side='channel' needs example_inputs"),
        (nn.Linear, {"overrides": {"0": {"skip": True}}}, InvalidValueError, "takes neither overrides nor"),
        (nn.Linear, {"capturable": True}, InvalidValueError, "takes neither overrides nor capturable=True"),
        (nn.Linear, {"layers": ["7"]}, LayerError, "unknown layer '7'"),
        (None, {}, LayerError, "no channel of the network can be removed .*b: the channels that it reads must stay"),
    ],
)
def test_what_is_not_served_is_refused(make: Any, given: dict[str, Any], kind: type[Exception], message: str) -> None:
    model = Mixed() if make is None else nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2))
    with pytest.raises(kind, match=message):
        tg.GrOWL(model, side="channel", **{"example_inputs": torch.randn(2, 4), **given})


def test_half_precision_is_refused_by_layer_name() -> None:
    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2)).bfloat16()
    with pytest.raises(LayerError, match=r"float32 or float64; layer '0' has torch\.bfloat16"):
        tg.GrOWL(model, side="channel", example_inputs=torch.randn(2, 4).bfloat16())


def test_floors_are_warned_of_by_name() -> None:
    model, x, _ = network("plain CNN")
    growl = tg.GrOWL(model, 1e6, side="channel", example_inputs=x[:2], min_rows=2)
    with pytest.warns(GrowlWarning, match="would have been emptied"):
        growl.prox_(1.0)
    assert growl.floored == {"0", "3"}
    assert growl.nonzero() == {"0": 2, "3": 2}


@pytest.mark.parametrize("name", ["schedule-free", "AdamW", "two optimizers"])
def test_optimizers_hold_the_zeros(name: str) -> None:
    model, x, y = network("plain CNN")
    growl = tg.GrOWL(model, 1.0, side="channel", example_inputs=x[:2])
    if name == "schedule-free":
        schedulefree = pytest.importorskip("schedulefree")
        optimizers = [schedulefree.SGDScheduleFree(model.parameters(), lr=0.05)]
        optimizers[0].train()
    elif name == "AdamW":
        optimizers = [torch.optim.AdamW(model.parameters(), lr=0.05)]
    else:
        conv = [p for p in model.parameters() if p.ndim == 4]
        optimizers = [
            torch.optim.SGD(conv, lr=0.05, momentum=0.9),
            torch.optim.AdamW([p for p in model.parameters() if p.ndim != 4], lr=0.01),
        ]
    growl.attach(optimizers)
    for _ in range(4):
        for optimizer in optimizers:
            optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        for optimizer in optimizers:
            optimizer.step()
        growl._step.pruned(0)[3] = True
    assert not model[3].weight[:, 3].any() or name == "two optimizers"
    growl._step.zero_pruned()
    assert not model[0].weight[3].any()
    assert not model[1].weight[3].any()
