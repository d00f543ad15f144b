"""Schedule-free optimizers: rows are removed from all three sequences, and the loss is that of other optimizers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import Optimizer

import torch_growl as tg
from tests.support.optimizer_task import OPTIMIZERS, kept_rows
from torch_growl.errors import InvalidTypeError, InvalidValueError
from torch_growl.networks.optimizers.schedule_free import carried_to_base

schedulefree = pytest.importorskip("schedulefree", reason="needs the package schedulefree")

# r > 0 makes the average forget early weights faster; at r = 0 rows are removed more slowly.
SERVED: dict[str, Callable[[nn.Module], Optimizer]] = {
    "AdamWScheduleFree": lambda m: schedulefree.AdamWScheduleFree(m.parameters(), lr=6e-3, r=2.0, warmup_steps=20),
    "RAdamScheduleFree": lambda m: schedulefree.RAdamScheduleFree(m.parameters(), lr=6e-3, r=2.0),
    "SGDScheduleFree": lambda m: schedulefree.SGDScheduleFree(m.parameters(), lr=2.0),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SERVED)
def test_a_schedule_free_optimizer_keeps_about_as_many_rows_as_sgd(name: str) -> None:
    of_sgd = kept_rows(OPTIMIZERS["SGD"])[0]
    kept, loss = kept_rows(SERVED[name])
    assert of_sgd / 2 <= kept <= of_sgd * 2
    assert loss < 0.1


def problem() -> tuple[nn.Sequential, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    x = torch.randn(512, 64)
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 8)), x, torch.tanh(x[:, :8])


@pytest.mark.slow
@pytest.mark.parametrize("every", [1, 3])
@pytest.mark.parametrize("name", SERVED)
def test_rows_are_removed_from_all_sequences_and_the_loss_stays_low(name: str, every: int) -> None:
    network, x, y = problem()
    optimizer: Any = SERVED[name](network)
    optimizer.train()
    growl = tg.GrOWL(network, strength=1.0)
    growl.attach(optimizer, every=every)
    for _ in range(700):
        optimizer.zero_grad()
        (network(x) - y).square().mean().backward()
        optimizer.step()
    training = (network[0].weight == 0).all(dim=0)
    assert not training[:8].any(), "the inputs that matter"
    assert int(training.sum()) > 40
    assert bool((optimizer.state[network[0].weight]["z"][:, training] == 0).all())
    optimizer.eval()
    assert torch.equal((network[0].weight == 0).all(dim=0), training)
    assert float((network(x) - y).detach().square().mean()) < 0.15 * float(y.square().mean())
    optimizer.train()
    assert torch.equal((network[0].weight == 0).all(dim=0), training)


def test_the_average_is_left_to_the_optimizer() -> None:
    """The prox moves z by what it does to y; x = (y − (1 − β) z) / β stays."""
    network, x, y = problem()
    optimizer: Any = SERVED["SGDScheduleFree"](network)
    optimizer.train()
    for _ in range(5):
        optimizer.zero_grad()
        (network(x) - y).square().mean().backward()
        optimizer.step()
    weight = network[0].weight
    base, before = optimizer.state[weight]["z"], weight.detach().clone()
    z, beta = base.clone(), 0.9
    with torch.no_grad(), carried_to_base(optimizer, {"0": weight}) as carried:
        weight.mul_(0.5)
    assert carried
    torch.testing.assert_close(base, z - 0.5 * before)
    torch.testing.assert_close((weight - (1 - beta) * base) / beta, (before - (1 - beta) * z) / beta)


@pytest.mark.parametrize("name", ["AdamWScheduleFreeClosure", "SGDScheduleFreeClosure", "AdamWScheduleFreeReference"])
def test_other_forms_are_refused_by_name(name: str) -> None:
    network = problem()[0]
    with pytest.raises(InvalidValueError, match=f"{name} cannot be combined with GrOWL; use one of AdamWScheduleFree,"):
        tg.GrOWL(network).attach(getattr(schedulefree, name)(network.parameters()))


def test_the_wrapper_of_schedulefree_is_no_optimizer() -> None:
    network = problem()[0]
    wrapped = schedulefree.ScheduleFreeWrapper(torch.optim.SGD(network.parameters(), lr=0.1))
    with pytest.raises(InvalidTypeError, match=r"optimizer must be a torch.optim.Optimizer, got ScheduleFreeWrapper"):
        tg.GrOWL(network).attach(wrapped)


def test_an_average_that_forgets_slowly_is_refused() -> None:
    network, _, _ = problem()
    with pytest.raises(InvalidValueError, match="AdamWScheduleFree with r=0 keeps more than twice the rows of SGD"):
        tg.GrOWL(network).attach(schedulefree.AdamWScheduleFree(network.parameters(), lr=1e-3))
