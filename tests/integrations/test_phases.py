"""The phases of a training, without a trainer: arguments, random states, averages, a training that ends early."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import torch_growl as tg
from tests.support.small_mlp import mlp, step
from torch_growl.errors import GrowlError, GrowlWarning, InvalidValueError
from torch_growl.integrations.phases import Phases, moved

MACS = tg.Target(macs=0.6)


def phases(**given: Any) -> Phases:
    usual: dict[str, Any] = {"strength": None, "target": None, "leave": "regularized", "tie": None, "tie_from": 0.75}
    return Phases(**{**usual, "warmup": 0.0, "example_inputs": None, "options": {}, **given})


def trained(used: Phases, steps: int, of: int = 20) -> torch.nn.Sequential:
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    used.begin(model, [optimizer], of, 0, lambda: torch.randn(4, 10))
    for i in range(steps):
        step(model, optimizer, i)
        used.after_step(i + 1, model)
    return model


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"strength": 1.0, "target": MACS}, "not both"),
        ({"options": {"strenght": 2}}, "no argument 'strenght'; did you mean 'strength'?"),
        ({"options": {"min_row": 2}}, "no argument 'min_row'; did you mean 'min_rows'?"),
        ({"options": {"steps": 3}}, "no argument 'steps'"),
        ({"options": {"model": 3}}, "no argument 'model'"),
        ({"strength": -1.0}, "strength must be"),
        ({"target": 0.5}, "target must be a Target"),
        ({"leave": "small"}, "leave must be"),
        ({"tie": 0.8}, "leave='regularized' has no ties"),
        ({"tie": 1.5, "leave": "tied"}, "tie must be"),
        ({"tie_from": 1.0, "leave": "tied"}, "tie_from must be"),
        ({"tie_from": 0.3, "leave": "tied", "target": MACS}, "rows shrink until"),
        ({"warmup": 0.1, "target": MACS}, "warmup is for a strength"),
        (
            {"target": tg.Target(accuracy_drop=1.0, validate=lambda m: 1.0), "leave": "tied"},
            "tie cannot be combined with an accuracy_drop",
        ),
    ],
)
def test_arguments_that_do_not_fit_are_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(GrowlError, match=said):
        phases(**given)


def test_each_way_to_leave_a_network() -> None:
    for leave in ("regularized", "tied", "compact"):
        used = phases(target=MACS, leave=leave, options={"min_rows": 2})
        model = trained(used, 20)
        left = used.finish(model)
        assert (left is model) == (leave != "compact")
        assert (used.tying is not None) == (leave == "tied")
        assert used.values()["growl/reached"] == 1
    x = torch.randn(5, 10)
    torch.testing.assert_close(left.eval()(x), model.eval()(x), rtol=1e-4, atol=1e-5)
    assert tg.measure(left, x, latency=False).macs <= 0.6 * tg.measure(mlp(), x, latency=False).macs


@pytest.mark.parametrize("target", [None, MACS])
def test_whole_channels_are_found_on_the_trainers_own_inputs(target: tg.Target | None) -> None:
    used = phases(target=target, strength=None if target else 0.5, options={"side": "channel", "min_rows": 2})
    model = trained(used, 20)
    assert used.growl is not None
    assert used.growl.side == "channel"
    assert used.example_inputs is not None
    if target is not None:
        assert used.growl.progress.reached
        layers = [layer for layer in model if isinstance(layer, torch.nn.Linear)]
        gone = [(reader.weight == 0).all(0) for reader in layers[1:]]
        assert any(own.any() for own in gone)
        assert not any(maker.weight[own].any() for maker, own in zip(layers, gone, strict=False))


def test_channels_as_rows_are_served_and_resumed() -> None:
    settings: dict[str, Any] = {"target": MACS, "leave": "compact", "options": {"side": "channel", "min_rows": 2}}
    whole, stopped, resumed = (phases(**settings) for _ in range(3))
    expected = trained(whole, 20)
    small = whole.finish(expected)
    assert tg.measure(small, torch.randn(2, 10), latency=False).macs < 0.61 * _macs()
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    stopped.begin(model, [optimizer], 20, 0, lambda: torch.randn(4, 10))
    for i in range(20):
        if i == 6:
            resumed.load_state_dict(stopped.state_dict())
            stopped.remove()
            resumed.begin(model, [optimizer], 20, 6, lambda: torch.randn(4, 10))
        step(model, optimizer, i)
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in expected.state_dict().items())


def _macs() -> int:
    return tg.measure(mlp(), torch.randn(2, 10), latency=False).macs


def test_a_training_that_ends_early_is_warned_of() -> None:
    used = phases(target=MACS, options={"min_rows": 2})
    model = trained(used, 15)
    with pytest.warns(GrowlWarning, match="ended at step 15 of 20"):
        used.finish(model)


def test_the_last_optimizer_is_free_after_training_and_when_one_begins_anew() -> None:
    used = phases(strength=1.0)
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    for _ in range(2):  # a training that was interrupted begins anew
        used.begin(model, [optimizer], 10, 0, lambda: None)
        assert len(optimizer._optimizer_step_post_hooks) == 1
    used.finish(model)
    assert not optimizer._optimizer_step_post_hooks


def test_a_penalty_that_is_added_to_a_training_takes_the_steps_that_are_left() -> None:
    used = phases(target=MACS)
    model = mlp()
    used.begin(model, [torch.optim.SGD(model.parameters(), lr=0.1)], 100, 60, lambda: torch.randn(4, 10))
    assert used.progress is not None
    assert used.progress.steps == 40
    assert used.state_dict()["before"] == 60


def test_averages_are_held_too() -> None:
    used = phases(target=MACS, leave="tied", tie=0.5, options={"min_rows": 2})
    trained(used, 20)
    average = torch.optim.swa_utils.AveragedModel(mlp())
    used.hold_(average)
    assert used.tying is not None
    for layer in used.tying:
        assert layer.partition.holds(average.module.get_submodule(layer.name).weight.T)


def test_nothing_is_left_before_training() -> None:
    used = phases()
    assert (used.state_dict(), used.values(), used.progress, used.tying) == ({}, {}, None, None)
    with pytest.raises(InvalidValueError, match="not begun"):
        used.finish(mlp())


def test_inputs_are_moved_as_they_are_nested() -> None:
    given = {"x": torch.ones(2), "y": (torch.ones(1), [3])}
    found = moved(given, torch.device("meta"))
    assert (found["x"].device.type, found["y"][0].device.type, found["y"][1]) == ("meta", "meta", [3])


def test_rows_that_a_target_ties_are_in_the_compact_network_and_in_the_log() -> None:
    batches = list(torch.randn(4, 60, 10, generator=torch.Generator().manual_seed(0)))
    target = tg.Target(weights=0.8, compensate=batches, ties=True)
    used = phases(target=target, leave="compact", example_inputs=batches[0], options={"min_rows": 1, "layers": ["fc1"]})
    model = trained(used, 20)
    small = used.finish(model)
    assert used.progress is not None
    assert used.progress.reached
    assert used.progress.left == sum(p.numel() for p in small.parameters())
    assert used.values()["growl/rows"] < int((model.fc1.weight != 0).any(0).sum())
