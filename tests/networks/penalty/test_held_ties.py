"""Ties held in a training: rows bit-equal after every step of every optimizer, counted as compaction counts them."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

import torch_growl as tg
from tests.support.fake_processes import playing
from tests.support.optimizer_task import OPTIMIZERS, small_network
from tests.support.small_mlp import mlp, step
from torch_growl.errors import InvalidValueError, LayerError
from torch_growl.mathematics.clustering import Partition
from torch_growl.networks.layers import rows_of
from torch_growl.networks.penalty import GrOWL
from torch_growl.networks.tying import existing_tying

PAIRS = Partition((0, 0, 1, 1, 2, 3, 4, -1, 0, 5))  # of the 10 rows of fc1: three, two, and one that is pruned
FREE: dict[str, Any] = {"strength": 0.0, "layers": ["fc1", "fc2"]}


def holds(layer: nn.Module, groups: Partition, weight: Tensor | None = None) -> bool:
    """Tell whether the members of the groups are bit-equal; pruned rows may be what they are."""
    rows = rows_of(layer, weight=weight)
    firsts = [groups.labels.index(label) if label >= 0 else row for row, label in enumerate(groups.labels)]
    return torch.equal(rows, rows[firsts])


def held(model: nn.Module, optimizer: Optimizer, groups: Partition = PAIRS) -> GrOWL:
    """A penalty of no strength that holds ties of the first layer."""
    growl = GrOWL(model, **FREE)
    growl.attach(optimizer)
    growl._hold_ties({"fc1": groups})
    return growl


def schedule_free(kind: str) -> Callable[[nn.Module], Optimizer]:
    def make(model: nn.Module) -> Optimizer:
        schedulefree = pytest.importorskip("schedulefree", reason="needs the package schedulefree")
        optimizer: Any = getattr(schedulefree, kind)(model.parameters(), lr=0.05, **({} if "SGD" in kind else {"r": 2}))
        optimizer.train()
        return optimizer  # type: ignore[no-any-return]

    return make


EVERY = {**OPTIMIZERS, **{f"{kind}ScheduleFree": schedule_free(f"{kind}ScheduleFree") for kind in ("SGD", "AdamW")}}


@pytest.mark.parametrize("every", [1, 2])
@pytest.mark.parametrize("name", EVERY)
@pytest.mark.filterwarnings("ignore::torch_growl.errors.GrowlWarning")
def test_rows_stay_equal_to_the_bit_with_every_optimizer(name: str, every: int) -> None:
    model = small_network()
    optimizer = EVERY[name](model)
    layer = model[2]
    groups = Partition(tuple(row if row < 20 else row // 3 + 60 for row in range(64)))
    growl = GrOWL(model, strength=0.0 if name == "Muon" else 0.05, layers=["0", "2"])
    growl.attach(optimizer, every=every)
    before = layer.weight.detach().clone()
    growl._hold_ties({"2": groups})
    for i in range(4):
        optimizer.zero_grad()
        model(torch.randn(16, 64, generator=torch.Generator().manual_seed(i))).square().mean().backward()
        optimizer.step()
        assert holds(layer, groups)
    assert not torch.equal(layer.weight, before)
    assert not holds(model[0], groups), "another layer is not tied"
    if "ScheduleFree" in name:
        assert holds(layer, groups, optimizer.state[layer.weight]["z"])
        optimizer.eval()  # type: ignore[attr-defined]
        assert holds(layer, groups)
    assert growl.nonzero() == {"0": 64, "2": 36}


def test_with_sgd_it_is_the_training_of_tied_parametrizations() -> None:
    model = mlp().double()
    with torch.no_grad():
        model.fc1.weight[:, 7] = 0
    growl = held(model, optimizer := torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-3))
    other = copy.deepcopy(model)
    tg.tie_(other, existing_tying(other, ["fc1"]))
    theirs = torch.optim.SGD(other.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-3)
    for i in range(6):
        x = torch.randn(32, 10, generator=torch.Generator().manual_seed(i), dtype=torch.float64)
        for each, its in ((model, optimizer), (other, theirs)):
            its.zero_grad()
            nn.functional.cross_entropy(each(x), (x[:, 0] > 0).long()).backward()
            its.step()
    torch.testing.assert_close(model.fc1.weight, other.fc1.weight, rtol=1e-10, atol=1e-12)
    assert growl.nonzero() == {"fc1": 6, "fc2": 16}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_a_resumed_training_is_the_same_to_the_bit(dtype: torch.dtype) -> None:
    runs = []
    for interrupted in (False, True):
        model = mlp().to(dtype)
        growl = held(model, optimizer := torch.optim.AdamW(model.parameters(), lr=0.01))
        for i in range(6):
            if interrupted and i == 3:
                state = copy.deepcopy((model.state_dict(), optimizer.state_dict(), growl.state_dict()))
                assert state[2]["tied"]["fc1"].tolist() == [0, 0, 2, 2, 4, 5, 6, 7, 0, 9]
                model = mlp().to(dtype)
                optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
                growl = GrOWL(model, **FREE)
                growl.load_state_dict(state[2])
                model.load_state_dict(state[0])
                optimizer.load_state_dict(state[1])
                growl.attach(optimizer)
            optimizer.zero_grad()
            model(torch.randn(32, 10, generator=torch.Generator().manual_seed(i)).to(dtype)).square().mean().backward()
            optimizer.step()
            assert holds(model.fc1, PAIRS)
        runs.append(model)
    assert all(torch.equal(a, b) for a, b in zip(runs[0].parameters(), runs[1].parameters(), strict=True))


def test_a_state_of_an_older_version_has_no_ties() -> None:
    growl = GrOWL(mlp(), **FREE)
    state = growl.state_dict()
    assert state.pop("tied") == {}
    growl._hold_ties({"fc1": PAIRS})
    growl.load_state_dict(state)
    assert growl.state_dict()["tied"] == {}


@pytest.mark.parametrize(
    "how", [copy.deepcopy, lambda parts: pickle.loads(pickle.dumps(parts))], ids=["copy", "pickle"]
)
def test_copies_hold_ties_of_their_own_network(how: Callable[[Any], Any]) -> None:
    model = mlp()
    growl = held(model, optimizer := torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9))
    other, its, copied = how((model, optimizer, growl))
    before = model.fc1.weight.detach().clone()
    step(other, its)
    assert holds(other.fc1, PAIRS)
    assert not torch.equal(other.fc1.weight, before)
    assert torch.equal(model.fc1.weight, before)
    assert copied.nonzero() == {"fc1": 7, "fc2": 16}


def test_a_proximal_step_of_one_s_own_keeps_rows_tied() -> None:
    model = mlp()
    growl = GrOWL(model, **{**FREE, "strength": 2.0})
    growl._hold_ties({"fc1": PAIRS})
    before = model.fc1.weight.detach().clone()
    growl.prox_(0.1)
    assert holds(model.fc1, PAIRS)
    assert not torch.equal(model.fc1.weight, before)


def test_an_average_becomes_tied_and_as_small() -> None:
    model = mlp()
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.9))
    growl = held(model, optimizer := torch.optim.SGD(model.parameters(), lr=0.1))
    for i in range(3):
        step(model, optimizer, i)
        average.update_parameters(model)
    with torch.no_grad():
        average.module.fc1.weight[:, 1] += 0.1  # as after weights that were averaged before the ties
    growl.average_(average)
    assert holds(average.module.fc1, PAIRS)
    assert not torch.equal(average.module.fc1.weight, model.fc1.weight)


def test_a_frozen_layer_is_not_written_to_and_is_tied_again_when_it_trains() -> None:
    model = mlp()
    held(model, optimizer := torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9))
    step(model, optimizer)
    model.fc1.weight.requires_grad_(False)
    version = model.fc1.weight._version
    model.fc1.weight.data[:, 0] += 1
    step(model, optimizer)
    assert not holds(model.fc1, PAIRS)
    assert model.fc1.weight._version <= version + 1, "pruned rows are held at zero, nothing else is written"
    model.fc1.weight.requires_grad_(True)
    step(model, optimizer)
    assert holds(model.fc1, PAIRS)


def test_a_row_that_is_pruned_leaves_its_group() -> None:
    model = mlp()
    growl = held(model, optimizer := torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9))
    growl._step.pruned(0)[0] = True
    step(model, optimizer)
    assert not model.fc1.weight[:, 0].any()
    assert bool(model.fc1.weight[:, 1].any())
    assert holds(model.fc1, Partition((0, 1, 2, 2, 3, 4, 5, -1, 1, 6)))
    assert growl.nonzero()["fc1"] == 7


def test_taps_of_a_convolution_and_groups_of_one_are_tied() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(8, 8, 3, groups=2), nn.ReLU(), nn.Conv2d(8, 6, 3), nn.Flatten(), nn.Linear(54, 2))
    groups = Partition((0, 0, 1, 2, 3, 4, 4, 5))
    growl = GrOWL(model, strength=0.0, layers=["0", "2"])
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    growl.attach(optimizer)
    growl._hold_ties({"0": groups, "2": groups})
    for i in range(3):
        optimizer.zero_grad()
        model(torch.randn(4, 8, 7, 7, generator=torch.Generator().manual_seed(i))).square().mean().backward()
        optimizer.step()
        assert holds(model[0], groups)
        assert holds(model[2], groups)


@pytest.mark.parametrize(
    ("given", "ties", "error", "message"),
    [
        ({"side": "output"}, {"fc1": PAIRS}, InvalidValueError, "only rows that are inputs are tied"),
        ({"capturable": True}, {"fc1": PAIRS}, InvalidValueError, "not with capturable=True"),
        ({}, {"fc3": PAIRS}, LayerError, "'fc3', which is no penalised layer"),
        ({}, {"fc2": PAIRS}, LayerError, "the ties are of 10 rows of 'fc2'"),
    ],
)
def test_ties_that_cannot_be_held_are_refused_and_nothing_is_changed(
    given: dict[str, Any], ties: dict[str, Partition], error: type[Exception], message: str
) -> None:
    growl = GrOWL(model := mlp(), **FREE, **given)
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(error, match=message):
        growl._hold_ties({"fc1": PAIRS, **ties})
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert growl.state_dict()["tied"] == {}


def test_weights_that_are_spread_over_processes_are_refused_by_name() -> None:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    with playing(0, 2):
        model = mlp()
        fully_shard(model, mesh=init_device_mesh("cpu", (2,)))
        growl = GrOWL(model, **FREE)
        with pytest.raises(LayerError, match="'fc1' is spread over processes, and its rows are not tied"):
            growl._hold_ties({"fc1": PAIRS})
