"""An accuracy drop is kept, the search is resumable, and judging changes nothing of the training."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
import torch
from torch import nn

import torch_growl as tg
from tests.support.digits_networks import accuracy, digits, mlp, train
from torch_growl.networks.paths.accuracy_drop import LEAST_STEPS, DropControl


def per_cent(model: nn.Module) -> float:
    return 100 * accuracy(model)


@cache
def _dense() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    model = mlp()
    train(model, torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9), 400)
    return model.state_dict()


def dense() -> nn.Sequential:
    model = mlp()
    model.load_state_dict(copy.deepcopy(_dense()))
    return model


def started(
    steps: int, drop: float = 1.0, validate: Callable[[nn.Module], float] = per_cent, **more: object
) -> tuple[nn.Sequential, tg.GrOWL, torch.optim.Optimizer]:
    model = dense()
    target = tg.Target(accuracy_drop=drop, validate=validate, **more)  # type: ignore[arg-type]
    growl = tg.GrOWL(model, target=target, example_inputs=digits()[0][:4], min_rows=2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    growl.attach(optimizer, steps=steps)
    torch.manual_seed(1)
    return model, growl, optimizer


@pytest.mark.slow
def test_the_smallest_network_within_the_drop_is_found_and_trained_on() -> None:
    phases = []
    model, growl, optimizer = started(500, drop=2.0)
    train(model, optimizer, 500, lambda: phases.append(growl._control._phase))  # type: ignore[union-attr]
    found = growl.progress
    assert found.reached
    assert found.reference - per_cent(model) <= 2.0
    assert found.score == per_cent(model)
    assert found.best is not None
    assert found.best.weights == found.left
    small = tg.compact(model, digits()[0][:4])
    assert sum(p.numel() for p in small.parameters()) == found.left < 0.7 * found.dense
    good = [point.weights for point in found.points if point.good]
    assert good == sorted(good, reverse=True)  # from light to heavy
    assert found.best.weights == min(good)
    assert all(point.good == (found.reference - point.score <= 2.0) for point in found.points)
    assert list(dict.fromkeys(phases)) == ["free", "recovering", "shrinking", "holding"]
    assert phases.count("free") < 60
    assert phases.count("holding") >= 75


def scripted(bad_below: float) -> tuple[Callable[[nn.Module], float], list[float]]:
    """A score of 100 as long as enough weights are left; and the shares that it was asked about."""
    seen: list[float] = []

    def validate(model: nn.Module) -> float:
        flags = [(m.weight != 0).any(dim=0).float().mean() for m in model if isinstance(m, nn.Linear)]
        seen.append(float(sum(flags) / len(flags)))
        return 100.0 if seen[-1] >= bad_below else 0.0

    return validate, seen


@pytest.mark.slow
def test_bad_trials_are_taken_back_and_the_limit_is_found() -> None:
    validate, seen = scripted(0.6)
    model, growl, optimizer = started(1000, validate=validate)
    train(model, optimizer, 1000)
    found = growl.progress
    assert found.reached
    assert min(seen) < 0.6
    assert seen[-1] >= 0.6
    bad = max(point.weights for point in found.points if not point.good)
    assert 0.7 * found.best.weights < bad < found.best.weights == found.left
    assert f"the last trial, {found.points[-1].weights:,} weights, had score" in found.why


@pytest.mark.slow
def test_without_any_good_trial_the_dense_network_is_kept_and_it_is_said() -> None:
    validate, _ = scripted(1.0)
    model, growl, optimizer = started(300, validate=validate)
    with pytest.warns(tg.GrowlWarning, match=r"not reached: no smaller network is within 1 of 100.*have score 0"):
        train(model, optimizer, 300)
    found = growl.progress
    assert not found.reached
    assert found.best is None
    assert found.left > 0.95 * found.dense
    assert "no smaller network within the drop" in str(found)


@pytest.mark.slow
def test_a_metric_of_which_less_is_better() -> None:
    model, growl, optimizer = started(400, validate=lambda m: 100 - per_cent(m), higher_is_better=False)
    train(model, optimizer, 400)
    assert growl.progress.reached
    assert (100 - per_cent(model)) - growl.progress.reference <= 1.0


def test_the_end_is_judged_and_gives_way_to_the_checkpoint() -> None:
    calls = []

    def validate(model: nn.Module) -> float:
        calls.append(per_cent(model))
        return calls[-1] if growl.progress.step < 300 else 0.0

    model, growl, optimizer = started(300, validate=validate)
    train(model, optimizer, 300)
    assert growl.progress.reached
    assert per_cent(model) == growl.progress.score == growl.progress.best.score


@pytest.mark.slow
def test_a_reference_may_be_given_and_the_end_is_held_to_it() -> None:
    model, growl, optimizer = started(300, reference=100.0)
    with pytest.warns(tg.GrowlWarning, match="not reached.*dense 100"):
        train(model, optimizer, 300)
    assert growl.progress.best is not None
    assert growl.progress.reference == 100.0
    assert not growl.progress.reached


@pytest.mark.slow
def test_a_new_network_trains_until_it_hardly_improves() -> None:
    torch.manual_seed(0)
    model = mlp()
    target = tg.Target(accuracy_drop=2.0, validate=per_cent)
    growl = tg.GrOWL(model, target=target, example_inputs=digits()[0][:4], min_rows=2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    growl.attach(optimizer, steps=600)
    train(model, optimizer, 60)
    assert growl.progress.phase == "free"
    train(model, optimizer, 540)
    assert growl.progress.reference > 92
    assert growl.progress.reached


def test_a_network_that_still_improves_at_half_of_the_steps_is_warned_of() -> None:
    scores = iter(range(1000))
    model, growl, optimizer = started(200, validate=lambda model: float(next(scores)))
    with pytest.warns(tg.GrowlWarning, match="still improving after half of the steps, by 2"):
        train(model, optimizer, 110)
    assert growl.progress.phase != "free"


class Noted(torch.optim.SGD):
    """SGD that notes the learning rates of its steps, and may fail in one."""

    rates: list[float]
    fails = False

    def step(self, closure: None = None) -> None:  # type: ignore[override]
        self.rates.append(self.param_groups[0]["lr"])
        if self.fails:
            raise ZeroDivisionError
        super().step()


def test_while_a_network_recovers_the_learning_rate_falls_to_zero_and_the_schedule_is_left_alone() -> None:
    model = dense()
    target = tg.Target(accuracy_drop=1.0, validate=per_cent)
    growl = tg.GrOWL(model, target=target, example_inputs=digits()[0][:4], min_rows=2)
    optimizer = Noted(model.parameters(), lr=0.05)
    optimizer.rates = []
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 300)
    asked, phases = [], []
    growl.attach(optimizer, steps=300)

    def after() -> None:
        asked.append(optimizer.param_groups[0]["lr"])
        schedule.step()

    for _ in range(80):
        phases.append(growl._control._phase)  # type: ignore[union-attr]
        train(model, optimizer, 1, after)
    shares = [made / rate for made, rate in zip(optimizer.rates, asked, strict=True)]
    other = torch.optim.SGD(dense().parameters(), lr=0.05)
    plain = torch.optim.lr_scheduler.CosineAnnealingLR(other, 300)
    for rate in asked:
        assert rate == other.param_groups[0]["lr"]
        other.step()
        plain.step()
    falling = [share for share, phase in zip(shares, phases, strict=True) if phase == "recovering"]
    assert all(share == 1 for share, phase in zip(shares, phases, strict=True) if phase != "recovering")
    assert falling[0] == 1
    assert min(falling) < 0.2
    optimizer.fails, rate = True, optimizer.param_groups[0]["lr"]
    for _ in range(20):
        with pytest.raises(ZeroDivisionError):
            train(model, optimizer, 1)
    optimizer.fails = False
    train(model, optimizer, 1)
    assert optimizer.param_groups[0]["lr"] == rate


def test_a_share_in_place_of_per_cent_is_warned_of() -> None:
    model, _, optimizer = started(200, drop=0.3, validate=accuracy)
    with pytest.warns(tg.GrowlWarning, match="for points of per cent let it return per cent"):
        train(model, optimizer, 40)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sgd", "adamw fused", "two"])
def test_a_resumed_run_ends_bit_equal(name: str, tmp_path: Path) -> None:
    def start() -> tuple[nn.Sequential, tg.GrOWL, list[torch.optim.Optimizer]]:
        model = dense()
        growl = tg.GrOWL(
            model, target=tg.Target(accuracy_drop=1.0, validate=per_cent), example_inputs=digits()[0][:4], min_rows=2
        )
        if name == "sgd":
            made: list[torch.optim.Optimizer] = [torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)]
        elif name == "two":
            made = [torch.optim.SGD(model[:2].parameters(), lr=0.05), torch.optim.Adam(model[2:].parameters())]
        else:
            made = [torch.optim.AdamW(model.parameters(), lr=2e-3, fused=True)]
        growl.attach(made, steps=240)
        return model, growl, made

    def run(model: nn.Module, optimizers: list[torch.optim.Optimizer], steps: int) -> None:
        x, y = digits()
        for _ in range(steps):
            batch = torch.randint(0, 1400, (64,))
            model.zero_grad()
            nn.functional.cross_entropy(model(x[batch]), y[batch]).backward()
            for optimizer in optimizers:
                optimizer.step()

    whole, first_growl, optimizers = start()
    torch.manual_seed(2)
    run(whole, optimizers, 240)
    assert any(not point.good for point in first_growl.progress.points)  # a checkpoint was put back
    model, growl, optimizers = start()
    torch.manual_seed(2)
    for upto, cut in ((0, 11), (11, 60), (60, 133), (133, 200), (200, 240)):
        run(model, optimizers, cut - upto)
        torch.save((model.state_dict(), growl.state_dict(), [o.state_dict() for o in optimizers]), tmp_path / "state")
        saved = torch.load(tmp_path / "state", weights_only=True)
        numbers = torch.get_rng_state()
        model, growl, optimizers = start()
        torch.set_rng_state(numbers)
        model.load_state_dict(saved[0])
        growl.load_state_dict(saved[1])
        for optimizer, state in zip(optimizers, saved[2], strict=True):
            optimizer.load_state_dict(state)
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), model.parameters(), strict=True))
    assert growl.progress == first_growl.progress


def test_a_reference_that_is_not_finite_is_refused() -> None:
    model, _, optimizer = started(200, validate=lambda _: float("nan"))
    with pytest.raises(tg.GrowlError, match="validate gave nan for the free network"):
        train(model, optimizer, 1)


def test_too_few_steps_are_refused_and_so_is_a_state_of_another_target() -> None:
    with pytest.raises(tg.GrowlError, match=f"≥ {LEAST_STEPS}"):
        started(LEAST_STEPS - 1)
    growl = tg.GrOWL(dense(), target=tg.Target(weights=0.5), example_inputs=digits()[0][:4], min_rows=2)
    _, other, _ = started(300)
    with pytest.raises(tg.GrowlError, match="another kind"):
        other.load_state_dict(growl.state_dict())
    with pytest.raises(tg.GrowlError, match="another kind"):
        growl.load_state_dict(other.state_dict())


def test_a_recovery_of_no_steps_has_a_learning_rate() -> None:
    _, growl, _ = started(300)
    assert isinstance(growl._control, DropControl)
    growl._control._recover(100, 100)
    assert 0 <= growl._control.rate_share(101) <= 1
