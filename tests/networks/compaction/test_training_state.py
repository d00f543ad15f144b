"""Training goes on in the small network as it would have in the dense one."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

import torch_growl as tg
from tests.support.pruned_networks import set_rows_
from torch_growl.errors import InvalidValueError
from torch_growl.mathematics.clustering.partition import Partition
from torch_growl.networks.tying.tying import LayerTying, Tying

Make = Callable[[object], torch.optim.Optimizer]
OPTIMIZERS: dict[str, Make] = {
    "sgd": lambda p: torch.optim.SGD(p, 0.05, momentum=0.9, weight_decay=0.01),
    "adam": lambda p: torch.optim.Adam(p, 0.01, weight_decay=0.01),
    "adamw": lambda p: torch.optim.AdamW(p, 0.01, weight_decay=0.1, amsgrad=True),
}


def train(model: nn.Module, optimizer: torch.optim.Optimizer, x: torch.Tensor, after: Callable[[], None]) -> None:
    optimizer.zero_grad()
    model(x).square().mean().add(model(x).sin().sum()).backward()
    optimizer.step()
    after()


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_pruned_network_trains_on_step_for_step(name: str) -> None:
    torch.manual_seed(0)
    dense = nn.Sequential(nn.Linear(8, 12), nn.ReLU(), nn.Linear(12, 6), nn.ReLU(), nn.Linear(6, 3)).double()
    x = torch.randn(16, 8, dtype=torch.float64)

    def prune() -> None:
        with torch.no_grad():
            dense[0].weight[:, [1, 4, 5, 6]] = 0
            dense[2].weight[:, [0, 3, 7, 8, 9]] = 0

    optimizer = OPTIMIZERS[name]([{"params": dense[2].parameters(), "lr": 0.02}, {"params": dense[0].parameters()}])
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 3, 0.5)
    for _ in range(4):
        train(dense, optimizer, x, prune)
        scheduler.step()
    small = tg.compact(dense, x)
    assert sum(p.numel() for p in small.parameters()) < sum(p.numel() for p in dense.parameters())
    before = copy.deepcopy(optimizer.state_dict())
    new = tg.compact_optimizer(optimizer, dense, small)
    follow = tg.compact_scheduler(scheduler, optimizer, new)
    assert type(new) is type(optimizer)
    for one, other in zip(before["state"].values(), optimizer.state_dict()["state"].values(), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)
    for _ in range(10):
        train(dense, optimizer, x, prune)
        train(small, new, x, lambda: None)
        scheduler.step()
        follow.step()
        assert [g["lr"] for g in new.param_groups] == [g["lr"] for g in optimizer.param_groups]
        torch.testing.assert_close(small(x), dense(x), rtol=1e-6, atol=1e-6)


def test_tied_training_continues_step_for_step() -> None:
    torch.manual_seed(0)
    dense = nn.Sequential(nn.Linear(8, 16)).double()
    x = torch.randn(16, 8, dtype=torch.float64)
    tg.tie_(dense, Tying((LayerTying("0", Partition((0, 1, 0, 1, 2, 3, 2, 0)), 16),)))
    optimizer = torch.optim.SGD(
        [{"params": [dense[0].parametrizations.weight.original]}, {"params": [dense[0].bias]}], 0.01, momentum=0.9
    )
    for _ in range(4):
        train(dense, optimizer, x, lambda: None)
    small = tg.compact(dense, x)
    assert tg.structure_of(small).layers[0].width == 4
    new = tg.compact_optimizer(optimizer, dense, small)
    for _ in range(10):
        train(dense, optimizer, x, lambda: None)
        train(small, new, x, lambda: None)
        torch.testing.assert_close(small(x), dense(x), rtol=1e-6, atol=1e-6)


def tied_by_hand() -> tuple[nn.Module, torch.Tensor]:
    """One layer of six inputs, the rows of the first three of which are equal; and example inputs."""
    torch.manual_seed(0)
    dense = nn.Sequential(nn.Linear(6, 40))
    set_rows_(dense[0], tied=[(0, 1, 2)])
    return dense, torch.randn(3, 6)


@pytest.mark.parametrize(
    ("make", "key", "rule"),
    [
        (torch.optim.SGD, "momentum_buffer", "mean"),
        (torch.optim.Adam, "exp_avg", "mean"),
        (torch.optim.Adam, "exp_avg_sq", "root"),
        (torch.optim.Adamax, "exp_inf", "mean"),
        (torch.optim.Adagrad, "sum", "root"),
        (torch.optim.RMSprop, "square_avg", "root"),
        (torch.optim.RMSprop, "momentum_buffer", "mean"),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_the_state_of_a_group_is_the_one_worked_out_by_hand(make: type, key: str, rule: str) -> None:
    dense, x = tied_by_hand()
    optimizer = make(dense.parameters(), lr=0.1)
    state = torch.rand(40, 6) + 0.1
    optimizer.state[dense[0].weight] = {"step": torch.tensor(4.0), key: state}
    small = tg.compact(dense, x)
    assert tg.structure_of(small).layers[0].slots == [[0, 1, 2], [3], [4], [5]]
    own = state[:, :3]
    first = {"root": own.sqrt().mean(1).square(), "mean": own.mean(1)}[rule]
    found = tg.compact_optimizer(optimizer, dense, small).state[small[0].layer.weight]
    assert found["step"] == 4
    torch.testing.assert_close(found[key], torch.cat([first[:, None], state[:, 3:]], 1))


@pytest.mark.parametrize(
    ("make", "key", "factor"),
    [
        (torch.optim.Adam, "exp_avg", 3**-0.5),
        (torch.optim.Adam, "exp_avg_sq", 1 / 3),
        (torch.optim.RMSprop, "momentum_buffer", 1.0),
    ],
    ids=["first moment", "second moment", "steps"],
)
def test_state_of_tied_training_is_scaled_as_its_gradient(make: type, key: str, factor: float) -> None:
    """A group of s rows is stored as √s · w, whose gradient is √s times the rows' mean; steps are kept."""
    dense, x = tied_by_hand()
    tg.tie_(dense, Tying((LayerTying("0", Partition((0, 0, 0, 1, 2, 3)), 40),)))
    stored = dense[0].parametrizations.weight.original
    optimizer = make(dense.parameters(), lr=0.1)
    state = torch.rand_like(stored) + 0.1
    optimizer.state[stored] = {"step": torch.tensor(4.0), key: state}
    small = tg.compact(dense, x)
    found = tg.compact_optimizer(optimizer, dense, small).state[small[0].layer.weight][key]
    expected = state.clone()
    expected[0] *= factor
    torch.testing.assert_close(found, expected.t())


def test_averages_are_compacted_and_unknown_state_is_refused() -> None:
    torch.manual_seed(0)
    dense = nn.Sequential(nn.Linear(8, 5), nn.ReLU(), nn.Linear(5, 2))
    x = torch.randn(4, 8)
    with torch.no_grad():
        dense[0].weight[:, :6] = 0
        dense[2].weight[:, :2] = 0
    average = AveragedModel(dense)
    average.update_parameters(dense)
    small = tg.compact(dense, x)
    cut = tg.compact_like(average, small)
    assert isinstance(cut, AveragedModel)
    assert cut.n_averaged == average.n_averaged
    torch.testing.assert_close(cut(x), average(x))
    cut.update_parameters(small)
    optimizer = torch.optim.SGD(dense.parameters(), 0.1)
    optimizer.state[dense[0].weight]["odd"] = torch.zeros(7)
    with pytest.raises(InvalidValueError, match=r"'0.weight'.*'odd'"):
        tg.compact_optimizer(optimizer, dense, small)
    with pytest.raises(InvalidValueError, match="not in the dense network"):
        tg.compact_optimizer(torch.optim.SGD(nn.Linear(2, 2).parameters(), 0.1), dense, small)
