"""The self-check passes where compaction is exact, and fails where a size or an output is not."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import torch_growl as tg
from tests.support.compact_battery import NETS, Net
from tests.support.pruned_networks import settle_
from torch_growl.networks.diagnosis import self_check as module
from torch_growl.networks.targets import Left

TRAINED = [net for net in NETS if net.name != "mlp-frozen"]  # without a layer to work on, doctor ends with an error


@pytest.mark.parametrize(
    "net", [pytest.param(net, marks=() if net.name == "mlp" else pytest.mark.slow) for net in TRAINED], ids=str
)
def test_networks_that_can_be_compacted_pass(net: Net) -> None:
    torch.manual_seed(0)
    model, x = settle_(net.build()), net.input()
    state = torch.get_rng_state()
    before = [parameter.clone() for parameter in model.parameters()]
    check = tg.doctor(model, x, check=True).check
    assert check is not None
    assert check.passed, check.lines()
    assert len(check.trials) == 2
    assert all(trial.weights <= trial.counted < check.dense for trial in check.trials)
    assert check.lines()[0].startswith("self-check passed: with half of the rows zero, ")
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), before, strict=True))


def mlp() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(20, 40), nn.ReLU(), nn.Linear(40, 6))


def test_another_output_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(model: nn.Module, inputs: object) -> nn.Module:
        small = tg.compact(model, inputs)
        with torch.no_grad():
            small[2].bias += 0.01  # type: ignore[index]
        return small

    monkeypatch.setattr(module, "compact", wrong)
    check = tg.doctor(mlp(), torch.randn(3, 20), check=True).check
    assert check is not None
    assert not check.passed
    assert all(trial.difference > 1e-3 for trial in check.trials)
    assert "self-check failed: " in check.lines()[0]


def test_a_network_that_is_larger_than_counted_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    class Short(module.Counter):
        def left(self, zero: object = None) -> Left:
            return Left(1, 1, 1)

    monkeypatch.setattr(module, "Counter", Short)
    check = tg.doctor(mlp(), torch.randn(3, 20), check=True).check
    assert check is not None
    assert "larger than counted" in check.lines()[0]


def test_with_rows_of_outputs_nothing_is_tried() -> None:
    check = tg.doctor(mlp(), torch.randn(3, 20), side="output", check=True).check
    assert check is not None
    assert not check.passed
    assert check.lines() == ["self-check failed: no layer is penalised, so nothing can be removed"]
