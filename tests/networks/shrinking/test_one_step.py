"""Without batches a target takes the training's own inputs; where that is not possible its rows shrink slowly."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import torch_growl as tg
from torch_growl.errors import GrowlWarning, InvalidValueError
from torch_growl.networks.moments import recorded_inputs
from torch_growl.networks.penalty import penalised_network
from torch_growl.networks.shrinking import one_step

STEPS, FREE = 20, 6  # the step in which rows go is the seventh

# the least-squares fit is refused where inputs are independent
pytestmark = pytest.mark.filterwarnings("ignore:compensation would make the outputs worse")


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 24), nn.Tanh(), nn.Linear(24, 16), nn.Tanh(), nn.Linear(16, 3))


def batch(number: int) -> Tensor:
    return torch.randn(32, 6, generator=torch.Generator().manual_seed(number))


def begun(target: tg.Target, model: nn.Module | None = None, **given: Any) -> tuple[Any, tg.GrOWL, torch.optim.SGD]:
    model = network() if model is None else model
    growl = tg.GrOWL(model, target=target, example_inputs=batch(0), min_rows=2, **given)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    growl.attach(optimizer, steps=STEPS)
    return model, growl, optimizer


def train(model: nn.Module, optimizer: torch.optim.Optimizer, first: int, until: int, parts: bool = False) -> None:
    for number in range(first, until):
        optimizer.zero_grad()
        x = batch(number)
        out = x
        for layer in model.children() if parts else [model]:
            out = layer(out)
        (out.sum(1) - x[:, 0]).square().mean().backward()
        optimizer.step()


def same(one: nn.Module, other: nn.Module) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


@pytest.mark.parametrize("of", ["weights", "macs", "bytes"])
@pytest.mark.parametrize("side", ["input", "channel"])
def test_it_is_the_same_as_with_the_batches_of_the_steps_before(of: str, side: Any) -> None:
    model, growl, optimizer = begun(tg.Target(**{of: 0.5}), side=side)
    train(model, optimizer, 0, STEPS)
    given = tg.Target(**{of: 0.5}, compensate=[batch(number) for number in range(FREE + 1)])
    other, second, optimizer = begun(given, side=side)
    train(other, optimizer, 0, STEPS)
    assert same(model, other)
    assert growl.progress.reached
    assert growl.nonzero() == second.nonzero()
    assert growl.state_dict()["inputs"] == []


def test_rows_are_tied_by_the_training_s_inputs_too() -> None:
    model, _, optimizer = begun(tg.Target(weights=0.5, ties=True))
    train(model, optimizer, 0, STEPS)
    batches = [batch(number) for number in range(FREE + 1)]
    other, _, optimizer = begun(tg.Target(weights=0.5, ties=True, compensate=batches))
    train(other, optimizer, 0, STEPS)
    assert same(model, other)


SLOW = {
    "asked for": {"weights": 0.5, "compensate": False},
    "a file": {"file_bytes": 0.7},
}


@pytest.mark.parametrize("name", SLOW)
def test_rows_shrink_slowly_where_it_is_asked_for_or_cannot_be_counted(name: str) -> None:
    model, growl, optimizer = begun(tg.Target(**SLOW[name]))
    train(model, optimizer, 0, 4)
    assert growl.progress.phase == "shrinking"
    assert not model._forward_pre_hooks


def test_a_file_can_be_reached_in_one_step_too() -> None:
    model, growl, optimizer = begun(tg.Target(file_bytes=0.7, compensate=True))
    train(model, optimizer, 0, FREE)
    assert growl.progress.phase == "free"
    train(model, optimizer, FREE, FREE + 1)
    assert growl.progress.reached


def test_several_optimizers_shrink_slowly_and_refuse_what_needs_one() -> None:
    for given, refused in (({}, False), ({"compensate": True}, True), ({"ties": True}, True)):
        model = network()
        growl = tg.GrOWL(model, target=tg.Target(weights=0.5, **given), example_inputs=batch(0), min_rows=2)
        optimizers = [torch.optim.SGD(layer.parameters(), lr=0.01) for layer in model if list(layer.parameters())]
        if refused:
            with pytest.raises(InvalidValueError, match="takes one optimizer, which trains all layers"):
                growl.attach(optimizers, steps=STEPS)
            continue
        growl.attach(optimizers, steps=STEPS)
        for number in range(STEPS):
            model(batch(number)).square().mean().backward()
            for optimizer in optimizers:
                optimizer.step()
            if number == 3:
                assert growl.progress.phase == "shrinking"
        assert growl.progress.reached


def test_several_processes_need_the_same_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(one_step, "on_several_processes", lambda: True)
    model, growl, optimizer = begun(tg.Target(weights=0.5))
    train(model, optimizer, 0, 4)
    assert growl.progress.phase == "shrinking"
    with pytest.raises(InvalidValueError, match="same inputs on every process: give it a list of batches"):
        begun(tg.Target(weights=0.5, compensate=True))
    begun(tg.Target(weights=0.5, compensate=[batch(0), batch(1)]))


@pytest.mark.parametrize("how", ["parts", "compiled", "compiled in place"])
def test_a_network_that_cannot_be_watched_is_warned_of_and_reaches_its_target(how: str) -> None:
    torch._dynamo.reset()
    model = network()
    called: nn.Module = model
    if how == "compiled in place":
        model.compile(backend="eager", fullgraph=True)
    elif how == "compiled":
        called = torch.compile(model, backend="eager", fullgraph=True)  # type: ignore[assignment]
        called(batch(0))
    _, growl, optimizer = begun(tg.Target(weights=0.5, ties=True), model)
    train(called, optimizer, 0, FREE, how == "parts")
    with pytest.warns(GrowlWarning, match=r"shrink slowly, and none are tied: fewer than two calls"):
        train(called, optimizer, FREE, FREE + 1, how == "parts")
    assert growl.progress.left == growl.progress.dense
    train(called, optimizer, FREE + 1, FREE + 2, how == "parts")
    assert growl.progress.phase == "shrinking"
    saved = growl.state_dict()
    train(called, optimizer, FREE + 2, STEPS, how == "parts")
    assert growl.progress.reached
    assert not model._forward_pre_hooks
    assert saved["target"]["slowly"]


def test_a_choice_that_fails_is_warned_of_and_the_training_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*given: Any, **others: Any) -> None:
        raise RuntimeError("no memory is left\non the device")

    monkeypatch.setattr(penalised_network, "chosen_rows", fails)
    model, growl, optimizer = begun(tg.Target(weights=0.5))
    with pytest.warns(GrowlWarning, match="they shrink slowly: the rows cannot be chosen: .*no memory is left"):
        train(model, optimizer, 0, STEPS)
    assert growl.progress.reached
    model, growl, optimizer = begun(tg.Target(weights=0.5, compensate=[batch(0), batch(1)]))
    with pytest.raises(RuntimeError, match="no memory"):
        train(model, optimizer, 0, STEPS)


def test_inputs_that_cannot_be_copied_are_said_in_the_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(inputs: Any) -> None:
        raise RuntimeError("out of memory")

    model, growl, optimizer = begun(tg.Target(weights=0.5))
    monkeypatch.setattr(recorded_inputs, "copied", fails)
    with pytest.warns(GrowlWarning, match="they shrink slowly: .*out of memory"):
        train(model, optimizer, 0, STEPS)
    assert growl.progress.reached


def test_a_new_training_begins_without_the_inputs_of_the_one_before() -> None:
    model, growl, optimizer = begun(tg.Target(weights=0.5))
    train(model, optimizer, 0, 3)
    for hook in list(optimizer._optimizer_step_post_hooks):
        del optimizer._optimizer_step_post_hooks[hook]
    growl.attach(optimizer, steps=STEPS)
    assert growl.state_dict()["inputs"] == []
    train(model, optimizer, 0, 1)
    assert len(growl.state_dict()["inputs"]) == 1


def test_a_fit_that_fails_is_warned_of_and_the_rows_are_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*given: Any) -> None:
        raise RuntimeError("it is singular")

    monkeypatch.setattr(one_step, "compensate_", fails)
    model, growl, optimizer = begun(tg.Target(weights=0.5))
    with pytest.warns(GrowlWarning, match="were not fitted to what others carried: .*it is singular"):
        train(model, optimizer, 0, FREE + 1)
    assert growl.progress.reached
    model, growl, optimizer = begun(tg.Target(weights=0.5, compensate=[batch(0), batch(1)]))
    with pytest.raises(RuntimeError, match="singular"):
        train(model, optimizer, 0, FREE + 1)


@pytest.mark.parametrize("first", ["load", "attach"])
def test_a_training_that_is_resumed_before_the_step_is_bit_equal(first: str) -> None:
    whole, growl, optimizer = begun(tg.Target(weights=0.5))
    saved = {}
    for number in range(STEPS):
        if number in (1, FREE, FREE + 1):
            saved[number] = copy.deepcopy((whole.state_dict(), growl.state_dict(), optimizer.state_dict()))
        train(whole, optimizer, number, number + 1)
    assert [len(states[1]["inputs"]) for states in saved.values()] == [1, FREE, 0]
    for number, (weights, penalty, momentum) in saved.items():
        model = network()
        growl = tg.GrOWL(model, target=tg.Target(weights=0.5), example_inputs=batch(0), min_rows=2)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
        if first == "attach":
            growl.attach(optimizer, steps=STEPS)
        model.load_state_dict(weights)
        growl.load_state_dict(penalty)
        optimizer.load_state_dict(momentum)
        if first == "load":
            growl.attach(optimizer, steps=STEPS)
        train(model, optimizer, number, STEPS)
        assert same(model, whole)


@pytest.mark.parametrize(
    "copied", [copy.deepcopy, lambda given: pickle.loads(pickle.dumps(given))], ids=["copy", "pickle"]
)
def test_a_copy_of_the_optimizer_trains_a_copy_of_the_network_alike(copied: Any) -> None:
    model, _, optimizer = begun(tg.Target(weights=0.5))
    train(model, optimizer, 0, FREE - 1)
    second, other = copied((model, optimizer))
    train(model, optimizer, FREE - 1, STEPS)
    train(second, other, FREE - 1, STEPS)
    assert same(model, second)


def test_a_state_that_is_loaded_after_attaching_is_gone_on_from_at_once() -> None:
    def attached() -> tuple[nn.Module, tg.GrOWL, torch.optim.SGD]:
        model = network()
        growl = tg.GrOWL(model, target=tg.Target(weights=0.5), example_inputs=batch(0), min_rows=2)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        growl.attach(optimizer, steps=200)
        assert not model._forward_pre_hooks
        return model, growl, optimizer

    model, growl, optimizer = attached()
    train(model, optimizer, 0, 25)
    state = growl.state_dict()
    assert len(state["inputs"]) == 5
    model, growl, optimizer = attached()
    growl.load_state_dict(state)
    train(model, optimizer, 25, 26)
    assert len(growl.state_dict()["inputs"]) == 6  # that of the first step after it too


@pytest.mark.parametrize("ways", ["slowly", "several optimizers"])
def test_inputs_of_a_state_are_dropped_where_rows_will_shrink(ways: str) -> None:
    model, growl, optimizer = begun(tg.Target(weights=0.5))
    train(model, optimizer, 0, FREE)
    state = growl.state_dict()
    assert state["inputs"]
    other = network()
    target = tg.Target(weights=0.5, compensate=False if ways == "slowly" else None)
    growl = tg.GrOWL(other, target=target, example_inputs=batch(0), min_rows=2)
    growl.load_state_dict(state)
    parts = [layer for layer in other if list(layer.parameters())]
    if ways == "slowly":
        growl.attach(torch.optim.SGD(other.parameters(), lr=0.01), steps=STEPS)
    else:
        growl.attach([torch.optim.SGD(layer.parameters(), lr=0.01) for layer in parts], steps=STEPS)
    assert growl.state_dict()["inputs"] == []
    assert not other._forward_pre_hooks


class HoldsItsPenalty(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = network()
        self.growl = tg.GrOWL(self, target=tg.Target(weights=0.5), example_inputs=batch(0), min_rows=2)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layers(x)
        return out


def test_a_network_that_holds_its_penalty_goes_in_one_step_and_can_be_copied_before() -> None:
    model = HoldsItsPenalty()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    model.growl.attach(optimizer, steps=STEPS)
    train(model, optimizer, 0, 3)
    for copied in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert same(copied, model)
        copied(batch(0))
    for number in range(3, FREE + 1):
        optimizer.zero_grad()
        model(batch(number)).square().mean().backward()
        optimizer.step()
    assert model.growl.progress.reached


def test_steps_under_autocast_choose_and_fit_as_without() -> None:
    found = []
    for enabled in (False, True):
        model, growl, optimizer = begun(tg.Target(weights=0.5))
        for group in optimizer.param_groups:
            group["lr"] = 0.0
        for number in range(FREE + 1):
            model(batch(number)).square().mean().backward()
            with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
                optimizer.step()
        assert growl.progress.reached
        found.append(model)
    assert same(*found)


def test_nothing_is_recorded_any_more_once_the_penalty_is_removed() -> None:
    model = network()
    growl = tg.GrOWL(model, target=tg.Target(weights=0.5), example_inputs=batch(0), min_rows=2)
    handle = growl.attach(torch.optim.SGD(model.parameters(), lr=0.01), steps=STEPS)
    model(batch(0))
    assert growl.state_dict()["inputs"]
    handle.remove()
    model(batch(1))
    assert not model._forward_pre_hooks
    assert growl.state_dict()["inputs"] == []


def test_a_long_training_records_only_the_steps_before() -> None:
    model = network()
    growl = tg.GrOWL(model, target=tg.Target(weights=0.5), example_inputs=batch(0), min_rows=2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    growl.attach(optimizer, steps=200)
    hooked = []
    for number in range(70):
        train(model, optimizer, number, number + 1)
        hooked.append(bool(model._forward_pre_hooks))
    assert hooked == [False] * 19 + [True] * 41 + [False] * 10
    assert growl.progress.reached
