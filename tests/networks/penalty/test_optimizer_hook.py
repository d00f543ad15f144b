"""The penalty attached to an optimizer: every kind of optimizer, period, warm-up, resumption, removal."""

from __future__ import annotations

import copy
import warnings

import pytest
import torch
from torch import nn

import torch_growl as tg
from tests.support.small_mlp import mlp, step
from torch_growl.errors import GrowlWarning, InvalidTypeError, InvalidValueError, LayerError
from torch_growl.networks.layers import row_norms
from torch_growl.networks.penalty.optimizer_hook import Schedule, unwrapped

OPTIMIZERS = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, weight_decay=1e-3),
    "nesterov": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, nesterov=True),
    "adam": lambda p: torch.optim.Adam(p, lr=0.01),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.01),
    "rmsprop": lambda p: torch.optim.RMSprop(p, lr=0.01, momentum=0.9),
    "adagrad": lambda p: torch.optim.Adagrad(p, lr=0.05),
    "adam, tensor lr": lambda p: torch.optim.Adam(p, lr=torch.tensor(0.01)),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_with_any_optimizer_rows_are_pruned_and_stay_zero(name: str) -> None:
    model = mlp()
    optimizer = OPTIMIZERS[name](model.parameters())
    growl = tg.GrOWL(model, 20.0, tg.lasso(), layers=["fc1"], form="paper", min_rows=2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", GrowlWarning)
        handle = growl.attach(optimizer)
        for i in range(60):
            step(model, optimizer, i)
        pruned = row_norms(model.fc1) == 0
        assert 0 < int(pruned.sum()) <= 8
        growl.strength = 0.0
        for i in range(10):
            step(model, optimizer, i)
            assert bool((row_norms(model.fc1)[pruned] == 0).all())
    handle.remove()
    step(model, optimizer)
    assert not bool((row_norms(model.fc1)[pruned] == 0).all()), "without the hook momentum does revive them"


def test_the_threshold_is_that_steps_learning_rate() -> None:
    model, twin = mlp(), mlp()
    groups = [
        {"params": [model.fc1.weight], "lr": 0.2},
        {"params": [p for n, p in model.named_parameters() if n != "fc1.weight"]},
    ]
    optimizer = torch.optim.SGD(groups, lr=0.0)
    tg.GrOWL(model, 0.1, tg.lasso(), form="paper").attach(optimizer)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.5)
    twin_optimizer = torch.optim.SGD([twin.fc1.weight], lr=0.2)
    for i, lr in enumerate((0.2, 0.1, 0.05)):
        step(model, optimizer, i)
        scheduler.step()
        twin_optimizer.param_groups[0]["lr"] = lr
        step(twin, twin_optimizer, i)
        twin.fc1.weight.data = tg.prox_growl(
            twin.fc1.weight.data.t(), torch.full((10,), 0.1 * lr, dtype=torch.float64)
        ).t()
        torch.testing.assert_close(model.fc1.weight, twin.fc1.weight)
    assert torch.equal(model.fc2.weight, twin.fc2.weight), "a learning rate of 0 has a threshold of 0"


def test_every_n_and_every_epoch() -> None:
    for arguments in ({"every": 3}, {"every": "epoch", "steps_per_epoch": 3}):
        model = mlp()
        growl = tg.GrOWL(model, 0.1)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        growl.attach(optimizer, **arguments)
        for i in range(7):
            step(model, optimizer, i)
            assert growl.steps == (i + 1) // 3


def trained(steps: int = 7, stop: int | None = None, load_first: bool = False, **attach: int) -> torch.Tensor:
    """A weight after some steps; the penalty may be stopped after one and go on from its state."""
    model = mlp()
    growl = tg.GrOWL(model, 0.1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    handle = growl.attach(optimizer, **attach)
    for i in range(steps):
        step(model, optimizer, i)
        if i == stop:
            state = growl.state_dict()
            handle.remove()
            growl = tg.GrOWL(model, 0.1)
            if load_first:
                growl.load_state_dict(state)
            growl.attach(optimizer, **attach)
            if not load_first:
                growl.load_state_dict(state)
    return model.fc1.weight.detach().clone()


@pytest.mark.parametrize("every", [1, 2, 3])
def test_the_strength_rises_evenly_over_the_warmup(every: int) -> None:
    model = mlp()
    growl = tg.GrOWL(model, 0.1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    growl.attach(optimizer, every=every)
    shares = [min(1.0, i / 4) for i in range(1, 8)]
    for i in range(7):
        growl.strength = 0.1 * sum(shares[max(0, i + 1 - every) : i + 1]) / every
        step(model, optimizer, i)
    torch.testing.assert_close(trained(every=every, warmup=4), model.fc1.weight.detach())
    assert not torch.equal(trained(every=every, warmup=4), trained(every=every))


@pytest.mark.parametrize("load_first", [True, False], ids=["load then attach", "attach then load"])
@pytest.mark.parametrize("attach", [{"warmup": 4}, {"every": 3}, {"every": 2, "warmup": 5}], ids=str)
def test_a_loaded_penalty_continues_its_warmup_and_period(attach: dict[str, int], load_first: bool) -> None:
    assert torch.equal(trained(stop=1, load_first=load_first, **attach), trained(**attach))


def test_attached_to_another_optimizer_it_counts_from_zero() -> None:
    model = mlp()
    growl = tg.GrOWL(model, 0.1)
    first, second = (torch.optim.SGD(model.parameters(), lr=0.1) for _ in range(2))
    handle = growl.attach(first, every=3)
    step(model, first)
    growl.load_state_dict(growl.state_dict())
    handle.remove()
    growl.attach(second, every=3)
    for i in range(3):
        assert growl.steps == 0
        step(model, second, i)
    assert growl.steps == 1


def test_between_two_proximal_steps_pruned_rows_stay_zero() -> None:
    model = mlp()
    model.fc1.weight.data[:, 3] = 0
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    tg.GrOWL(model, 1e-6).attach(optimizer, every=1000)
    for i in range(5):
        step(model, optimizer, i)
        assert bool((model.fc1.weight[:, 3] == 0).all())
        assert bool((model.fc1.weight[:, 4] != 0).any())


def test_the_share_of_a_warmup_is_the_mean_over_the_period() -> None:
    each, rare = Schedule(1, 4), Schedule(3, 4)
    assert [each.share(step) for step in range(1, 7)] == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]
    assert [rare.is_due(step) for step in range(1, 7)] == [False, False, True, False, False, True]
    assert [rare.share(3), rare.share(6), rare.share(9)] == [1.5 / 3, 1.0, 1.0]
    assert Schedule(3).share(3) == 1.0


def test_wrappers_of_an_optimizer_are_removed() -> None:
    class Wrapper(torch.optim.Optimizer):
        def __init__(self, optimizer: torch.optim.Optimizer) -> None:
            self.optimizer = optimizer

    inner = torch.optim.SGD(mlp().parameters(), lr=0.1)
    assert unwrapped(Wrapper(Wrapper(inner))) is inner
    assert unwrapped(inner) is inner


def test_a_skipped_step_of_a_gradient_scaler_takes_no_proximal_step() -> None:
    model = mlp()
    growl = tg.GrOWL(model, 0.1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    growl.attach(optimizer)
    scaler = torch.amp.GradScaler("cpu", init_scale=1.0)
    for grad, expected in ((float("inf"), 0), (1.0, 1)):
        optimizer.zero_grad()
        loss = model(torch.randn(8, 10)).sum()
        scaler.scale(loss).backward()
        if grad == float("inf"):
            model.fc1.weight.grad.fill_(grad)
        scaler.step(optimizer)
        scaler.update()
        assert growl.steps == expected


def test_autocast_and_compiled_networks() -> None:
    model = mlp()
    compiled = torch.compile(model, backend="eager")
    growl = tg.GrOWL(compiled, 0.5)
    assert growl.layers == ("fc1", "fc2")
    optimizer = torch.optim.SGD(compiled.parameters(), lr=0.1)
    growl.attach(optimizer)
    before = model.fc1.weight.detach().clone()
    with torch.autocast("cpu", torch.bfloat16):
        loss = compiled(torch.randn(32, 10)).float().pow(2).mean()
    loss.backward()
    optimizer.step()
    assert growl.steps == 1
    assert not torch.equal(before, model.fc1.weight)


def test_attaching_twice_or_to_the_wrong_optimizer_is_refused() -> None:
    model = mlp()
    growl = tg.GrOWL(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    handle = growl.attach(optimizer)
    with pytest.raises(InvalidValueError, match="attached to this optimizer already"):
        growl.attach(optimizer)
    handle.remove()
    growl.attach(optimizer)
    with pytest.raises(LayerError, match="the optimizer does not train the weight of 'fc2'"):
        growl.attach(torch.optim.SGD(model.fc1.parameters(), lr=0.1))
    for every in (0, "step", True, 1.5):
        with pytest.raises(InvalidValueError, match="every must be an integer ≥ 1 or 'epoch'"):
            growl.attach(torch.optim.SGD(model.parameters(), lr=0.1), every=every)
    for warmup in (-1, True, 1.5):
        with pytest.raises(tg.GrowlError, match="warmup must be an integer ≥ 0 optimizer steps"):
            growl.attach(torch.optim.SGD(model.parameters(), lr=0.1), warmup=warmup)  # type: ignore[arg-type]
    with pytest.raises(InvalidValueError, match="warmup cannot be combined with capturable"):
        tg.GrOWL(mlp(), capturable=True).attach(torch.optim.SGD(model.parameters(), lr=0.1), warmup=3)
    with pytest.raises(InvalidValueError, match="steps_per_epoch must be an integer ≥ 1"):
        growl.attach(torch.optim.SGD(model.parameters(), lr=0.1), every="epoch", steps_per_epoch=0)
    with pytest.raises(InvalidValueError, match="every='epoch' needs steps_per_epoch"):
        growl.attach(torch.optim.SGD(model.parameters(), lr=0.1), every="epoch")
    with pytest.raises(InvalidTypeError, match="optimizer must be a torch.optim.Optimizer, got list"):
        growl.attach([])  # type: ignore[arg-type]


def test_a_run_resumed_from_the_state_ends_the_same() -> None:
    def train(model: nn.Module, growl: tg.GrOWL, optimizer: torch.optim.Optimizer, steps: range) -> None:
        for i in steps:
            step(model, optimizer, i)

    def build(strength: float) -> tuple[nn.Module, tg.GrOWL, torch.optim.Optimizer]:
        model = mlp()
        growl = tg.GrOWL(model, strength, tg.lasso())
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        growl.attach(optimizer, every=2)
        return model, growl, optimizer

    whole = build(0.5)
    train(*whole, range(31))
    first = build(0.5)
    train(*first, range(17))
    second = build(0.1)  # the state has the strength
    for a, b in zip(second, first, strict=True):
        a.load_state_dict(copy.deepcopy(b.state_dict()))
    train(*second, range(17, 31))
    for a, b in zip(whole[0].parameters(), second[0].parameters(), strict=True):
        assert torch.equal(a, b)
    assert whole[1].steps == second[1].steps == 15
