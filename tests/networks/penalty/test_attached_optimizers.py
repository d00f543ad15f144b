"""The penalty on several optimizers, on copied and pickled ones, on fused ones that skip steps, and what is refused."""

from __future__ import annotations

import copy
import pickle
import warnings
from typing import Any

import pytest
import torch
from torch import nn

import torch_growl as tg
from tests.support.optimizer_task import OPTIMIZERS, SteppedSGD
from tests.support.small_mlp import mlp, step
from torch_growl.errors import GrowlWarning, InvalidValueError, LayerError

needs_muon = pytest.mark.skipif("Muon" not in OPTIMIZERS, reason="torch before 2.9 has no Muon")


def adam_and_muon(model: nn.Module) -> tuple[torch.optim.Optimizer, torch.optim.Optimizer]:
    muon = torch.optim.Muon([model.fc1.weight], lr=0.02)
    return muon, torch.optim.AdamW([p for p in model.parameters() if p is not model.fc1.weight], lr=0.01)


def stepped(model: nn.Module, optimizers: Any, steps: range) -> None:
    for i in steps:
        generator = torch.Generator().manual_seed(i)
        x, y = torch.randn(32, 10, generator=generator), torch.randint(3, (32,), generator=generator)
        model.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        for optimizer in optimizers:
            optimizer.step()


def test_several_optimizers_of_one_network_shrink_each_its_layers_with_the_shares_of_all() -> None:
    """The same as two optimizers of the same settings in one: each step of either shrinks its layers only."""
    whole, parts = mlp(), mlp()
    together = torch.optim.SGD(whole.parameters(), lr=0.1, momentum=0.5)
    first = torch.optim.SGD(parts.fc1.parameters(), lr=0.1, momentum=0.5)
    rest = [p for p in parts.parameters() if p is not parts.fc1.weight and p is not parts.fc1.bias]
    second = torch.optim.SGD(rest, lr=0.1, momentum=0.5)
    one, several = tg.GrOWL(whole, 3.0), tg.GrOWL(parts, 3.0)
    one.attach(together, every=2, warmup=3)
    handle = several.attach([first, second], every=2, warmup=3)
    stepped(whole, [together], range(8))
    stepped(parts, [first, second], range(8))
    for a, b in zip(whole.parameters(), parts.parameters(), strict=True):
        assert torch.equal(a, b)
    assert one.steps == several.steps == 4
    handle.remove()
    before = parts.fc2.weight.detach().clone()
    second.zero_grad()
    second.param_groups[0]["lr"] = 0.0
    second.step()
    assert torch.equal(parts.fc2.weight, before)


@needs_muon
def test_muon_and_adamw_train_one_network() -> None:
    model = mlp()
    optimizers = adam_and_muon(model)
    growl = tg.GrOWL(model, 30.0, min_rows=2)
    with pytest.raises(
        LayerError, match=r"'fc2'.* attach all optimizers of the network at once: growl.attach\(\[first"
    ):
        growl.attach(optimizers[0])
    growl.attach(optimizers)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", GrowlWarning)
        stepped(model, optimizers, range(60))
    assert all(2 <= rows < 10 for rows in growl.nonzero().values())


def test_layers_of_no_optimizer_or_of_two_are_refused() -> None:
    model = mlp()
    growl = tg.GrOWL(model)
    sgd, adam = torch.optim.SGD(model.parameters(), lr=0.1), torch.optim.Adam(model.parameters())
    with pytest.raises(LayerError, match="layer 'fc1' is trained by several of the optimizers"):
        growl.attach([sgd, adam])
    with pytest.raises(LayerError, match="does not train the weight of 'fc2'"):
        growl.attach([torch.optim.SGD(model.fc1.parameters(), lr=0.1)])
    growl.attach(sgd)


def test_two_penalties_on_one_layer_and_optimizer_are_refused() -> None:
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    handle = tg.GrOWL(model, layers=["fc1"]).attach(optimizer)
    with pytest.raises(InvalidValueError, match="another GrOWL that penalises 'fc1' is attached .*a notebook cell"):
        tg.GrOWL(model).attach(optimizer)
    tg.GrOWL(model, layers=["fc2"]).attach(optimizer)  # of other layers
    handle.remove()
    tg.GrOWL(model, layers=["fc1"]).attach(optimizer)


def test_the_penalty_left_on_while_the_network_is_tied_is_named_as_the_cause() -> None:
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    growl = tg.GrOWL(model)
    handle = growl.attach(optimizer)
    step(model, optimizer)
    tg.tie_(model, tg.find_tying(model, growl.layers), optimizer)
    words = r"layer 'fc1' no longer has a plain weight. Before tie_\(\), call remove\(\) on the handle"
    with pytest.raises(LayerError, match=words):
        step(model, optimizer)
    with pytest.raises(LayerError, match=words):
        growl.prox_(0.1)
    handle.remove()
    with pytest.raises(LayerError, match=words):
        growl.attach(optimizer)
    step(model, optimizer)
    tg.untie_(model, optimizer)
    growl.attach(optimizer)
    step(model, optimizer)


def _deep(everything: Any) -> Any:
    return copy.deepcopy(everything)


def _pickled(everything: Any) -> Any:
    return pickle.loads(pickle.dumps(everything))


@pytest.mark.parametrize("copied", [_deep, _pickled])
@pytest.mark.parametrize("measured", [False, True])
def test_a_copied_or_pickled_training_goes_on_with_the_penalty(copied: Any, measured: bool) -> None:
    model = mlp()
    optimizer = (SteppedSGD if measured else torch.optim.SGD)(model.parameters(), lr=0.1, momentum=0.5)
    growl = tg.GrOWL(model, 20.0, min_rows=2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", GrowlWarning)
        growl.attach(optimizer, every=2)
        for i in range(5):
            step(model, optimizer, i)
        model2, optimizer2, growl2 = copied((model, optimizer, growl))
        alone = copied(optimizer)  # the network of the copy is its own
        again, growl3 = copied((optimizer2, growl2))  # a copy of the copy
        for i in range(5, 30):
            step(model, optimizer, i)
        assert growl2.steps == 2, "the copy is apart"
        for i in range(5, 30):
            step(model2, optimizer2, i)
    for a, b in zip(model.parameters(), model2.parameters(), strict=True):
        assert torch.equal(a, b)
    assert growl.nonzero() == growl2.nonzero() != {"fc1": 10, "fc2": 16}
    assert growl.steps == growl2.steps == 15
    for other in (alone, again):
        (hook,) = other._optimizer_step_post_hooks.values()
        assert hook.is_alive
        assert {id(w) for w in hook._weights().values()} <= {id(p) for g in other.param_groups for p in g["params"]}
        other.step()
        assert hook.count == 6
    assert growl3.steps == 3
    with pytest.raises(InvalidValueError, match="attached to this optimizer already"):
        growl2.attach(optimizer2)


def test_a_step_that_calls_its_parents_step_shrinks_once() -> None:
    """torch calls the hooks of both; the parent's have been in place since its first instance was made."""
    weights = []
    for cls in (torch.optim.SGD, SteppedSGD):
        model = mlp()
        optimizer = cls(model.parameters(), lr=0.1)
        growl = tg.GrOWL(model, 0.5, form="paper")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", GrowlWarning)
            growl.attach(optimizer)
        for i in range(3):
            step(model, optimizer, i)
        assert growl.steps == 3
        weights.append(model.fc1.weight)
    assert torch.equal(*weights)


def test_an_optimizer_whose_penalty_was_removed_is_copied_without_it() -> None:
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    tg.GrOWL(model).attach(optimizer).remove()
    assert not copy.deepcopy(optimizer)._optimizer_step_post_hooks
    assert not pickle.loads(pickle.dumps(optimizer))._optimizer_step_post_hooks


@pytest.mark.parametrize("capturable", [False, True])
@pytest.mark.parametrize("cls", [torch.optim.AdamW, torch.optim.Adam, torch.optim.SGD, torch.optim.Adagrad])
def test_a_step_that_a_fused_optimizer_skips_changes_no_weight(cls: Any, capturable: bool) -> None:
    """Also the first step of all, before the optimizer has any state."""
    model = mlp()
    optimizer = cls(model.parameters(), lr=0.01, fused=True)
    growl = tg.GrOWL(model, 0.5, capturable=capturable)
    growl.attach(optimizer)
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    for size in (float("inf"), 1.0, float("nan"), 1.0):
        optimizer.zero_grad()
        scaler.scale(model(torch.randn(8, 10)).square().mean() * size).backward()
        before = [weight.detach().clone() for weight in model.parameters()]
        scaler.step(optimizer)
        scaler.update()
        growl.check()
        same = [torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True)]
        assert all(same) if size != 1.0 else not any(same[:1])
    knows = getattr(optimizer, "_step_supports_amp_scaling", False)  # else the scaler itself leaves steps out
    assert growl.steps == (4 if capturable and knows else 2), "a capturable step cannot wait to know"
