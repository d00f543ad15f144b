"""A target with compensation: rows go in one step, and those that stay take over what they carried."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import torch_growl as tg
from tests.networks.shrinking.test_training_free import NETWORKS as SHRUNK
from tests.support.channel_networks import NETWORKS, network
from torch_growl.errors import GrowlWarning, InvalidValueError
from torch_growl.networks.paths.path import PathPoint
from torch_growl.networks.targets import Counter

STEPS = 40
FREE = 12  # of them
CUT = [(name, side) for name in NETWORKS for side in ("input", "channel") if (name, side) != ("transformer", "channel")]


def slow(value: str) -> Any:
    return pytest.param(value, marks=pytest.mark.slow)


def redundant() -> tuple[nn.Module, list[Tensor]]:
    """A network whose 24 hidden channels are linear functions of 6 inputs."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 24), nn.Linear(24, 12), nn.Tanh(), nn.Linear(12, 3))
    return model, [torch.randn(40, 6) for _ in range(8)]


def answer(model: nn.Module, example: Any) -> Tensor:
    """The outputs of a network on inputs by position or by name, as one tensor."""
    found = model(**example) if isinstance(example, dict) else model(example)
    return found["scores"] if isinstance(found, dict) else found


def still(model: nn.Module) -> torch.optim.Optimizer:
    """An optimizer that moves nothing."""
    return torch.optim.SGD(model.parameters(), lr=0.0)


def step(model: nn.Module, optimizer: torch.optim.Optimizer, x: Tensor) -> None:
    optimizer.zero_grad()
    model(x).square().sum().backward()
    optimizer.step()


@pytest.mark.parametrize("side", ["input", "channel"])
def test_rows_go_in_one_step_and_the_rest_takes_over(side: Any) -> None:
    model, batches = redundant()
    dense = copy.deepcopy(model)
    target = tg.Target(weights=0.5, compensate=batches)
    growl = tg.GrOWL(model, side=side, layers=["1"], target=target, example_inputs=batches[0], min_rows=6)
    optimizer = still(model)
    growl.attach(optimizer, steps=STEPS)
    for number in range(1, FREE + 2):
        step(model, optimizer, batches[0])
        whole = number <= FREE
        assert growl.progress.phase == ("free" if whole else "holding")
        assert growl.progress.reached is not whole
        torch.testing.assert_close(model(batches[1]), dense(batches[1]), rtol=1e-3, atol=1e-3)
    assert sum(growl.nonzero().values()) < 24
    gone = (model[1].weight == 0).all(0)
    assert int(gone.sum()) == 24 - sum(growl.nonzero().values())
    if side == "channel":
        assert not model[0].weight[gone].any()
        assert not model[0].bias[gone].any()


def test_without_compensation_the_same_rows_going_at_once_would_change_the_outputs() -> None:
    model, batches = redundant()
    dense = copy.deepcopy(model)
    growl = tg.GrOWL(model, layers=["1"], target=tg.Target(weights=0.5, compensate=batches), example_inputs=batches[0])
    optimizer = still(model)
    growl.attach(optimizer, steps=STEPS)
    for _ in range(FREE + 1):
        step(model, optimizer, batches[0])
    plain = copy.deepcopy(dense)
    with torch.no_grad():
        plain[1].weight[:, (model[1].weight == 0).all(0)] = 0
        assert (plain(batches[1]) - dense(batches[1])).abs().max() > 0.05


def cut(model: nn.Module, target: tg.Target, example: Any, frozen: str = "", **given: Any) -> tg.GrOWL:
    """Train a network without moving it, in eval mode, until the rows have gone; a layer is frozen before."""
    growl = tg.GrOWL(model.eval(), target=target, example_inputs=example, **given)
    if frozen:
        model.get_submodule(frozen).weight.requires_grad_(False)
    optimizer = still(model)
    growl.attach(optimizer, steps=20)
    for _ in range(7):
        outputs = answer(model, example)
        optimizer.zero_grad()
        outputs.sum().backward()
        optimizer.step()
    return growl


@pytest.mark.parametrize("name", ["perceptron", *(slow(name) for name in ("residual convolutions", "transformer"))])
def test_rows_are_those_that_shrink_removes_without_training(name: str) -> None:
    torch.manual_seed(0)
    model, batches = SHRUNK[name]()
    model.eval()
    layers = Counter(model, batches[0]).cuttable
    small = tg.shrink(model, batches, tg.Target(weights=0.6), ties=False)
    cut(model, tg.Target(weights=0.6, compensate=batches), batches[0], layers=layers, min_rows=1)
    found = tg.compact(model, batches[0])
    assert {key: value.shape for key, value in found.state_dict().items()} == {
        key: value.shape for key, value in small.state_dict().items()
    }
    torch.testing.assert_close(answer(found, batches[1]), answer(small, batches[1]), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("of", [slow("weights"), "macs", slow("bytes")])
@pytest.mark.parametrize(("name", "side"), CUT)
def test_what_is_left_is_what_compaction_makes_and_near_what_was_asked(name: str, side: Any, of: str) -> None:
    model, x, _ = network(name)
    target = tg.Target(**{of: 0.5}, compensate=list(torch.randn(4, 16, 3, 10, 10)))
    progress = cut(model, target, x[:2], side=side, min_rows=2).progress
    assert progress.reached
    assert progress.left > 0.8 * progress.asked, "one channel of the smallest network is a sixth of it"
    real = getattr(tg.measure(tg.compact(model, x[:2]), x[:2], latency=False), of)
    if (name, of) != ("padded shortcuts", "bytes"):  # the shortcuts' own indices are not counted
        assert real <= progress.left
    if of == "weights" or (of == "macs" and name != "transformer"):  # a head's products of queries and keys go too
        assert real == progress.left


def test_frozen_layers_and_those_not_named_keep_their_rows() -> None:
    model, x, _ = network("plain CNN")
    batches = list(torch.randn(4, 16, 3, 10, 10))
    growl = cut(model, tg.Target(weights=0.8, compensate=batches), x[:2], "3", layers=["3", "7"])
    assert growl.nonzero()["3"] == 12
    assert 4 <= growl.nonzero()["7"] < 64
    assert growl.progress.reached
    assert (model[0].weight != 0).all()


@pytest.mark.parametrize("change", ["half precision", "channels last"])
def test_other_forms_of_weights_reach_the_target(change: str) -> None:
    model, x, _ = network("plain CNN")
    batches = list(torch.randn(4, 16, 3, 10, 10))
    if change == "half precision":
        model, x, batches = model.bfloat16(), x.bfloat16(), [batch.bfloat16() for batch in batches]
    else:
        model = model.to(memory_format=torch.channels_last)
        x, *batches = (batch.to(memory_format=torch.channels_last) for batch in (x, *batches))
    growl = cut(model, tg.Target(macs=0.5, compensate=batches), x[:2])
    assert growl.progress.reached
    assert tg.measure(tg.compact(model, x[:2]), x[:2], latency=False).macs == growl.progress.left


def test_where_the_choice_keeps_too_much_the_law_of_norms_removes_rows_in_the_same_step() -> None:
    """The layer with groups loses rows by the law alone."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(4, 8, 3, groups=2), nn.ReLU(), nn.Flatten(), nn.Linear(8, 3))
    batches = list(torch.randn(4, 20, 4, 3, 3))
    for x in batches:
        x[:, [1, 3]] = x[:, [0, 2]]
    dense = copy.deepcopy(model)
    with pytest.warns(GrowlWarning, match="the rows that go are those of smallest norm"):
        growl = cut(model, tg.Target(weights=0.6, compensate=batches), batches[0], layers=["0"], min_rows=1)
    assert growl.progress.phase == "holding"
    assert growl.progress.reached
    assert growl.nonzero() == {"0": 2}
    torch.testing.assert_close(model(batches[0]), dense(batches[0]), rtol=1e-3, atol=1e-3)


def test_rows_of_a_path_go_first_in_the_first_step() -> None:
    model, batches = redundant()
    rows = {"1": 24}
    gone = [int(i) for i in model[1].weight.norm(dim=0).argsort()[8:20]]
    point = PathPoint(10, 250, 250, 1000, {"1": 12}, {"1": gone}, 90.0, True)
    path = tg.PruningPath(507, 90.0, True, rows, {"1": 1.0}, (point,))
    target = tg.Target(weights=0.5, compensate=batches)
    growl = tg.GrOWL(model, layers=["1"], target=target, example_inputs=batches[0], path=path)
    optimizer = still(model)
    growl.attach(optimizer, steps=STEPS)
    step(model, optimizer, batches[0])
    assert set(gone) <= set(torch.nonzero((model[1].weight == 0).all(0)).flatten().tolist())
    assert growl.progress.reached


@pytest.mark.parametrize("interrupted_at", [FREE // 2, STEPS // 2])
def test_a_training_reaches_the_target_and_a_resumed_one_is_the_same(interrupted_at: int) -> None:
    runs = []
    for interrupted in (False, True):
        model, x, y = network("plain CNN")
        batches = [torch.randn(16, 3, 10, 10, generator=torch.Generator().manual_seed(i)) for i in range(4)]
        given: dict[str, Any] = {
            "side": "channel",
            "example_inputs": x[:2],
            "target": tg.Target(macs=0.5, compensate=batches),
        }
        growl = tg.GrOWL(model, **given)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
        growl.attach(optimizer, steps=STEPS)
        for number in range(STEPS):
            if interrupted and number == interrupted_at:
                state = copy.deepcopy((model.state_dict(), optimizer.state_dict(), growl.state_dict()))
                model, *_ = network("plain CNN")
                optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
                growl = tg.GrOWL(model, **given)
                model.load_state_dict(state[0])
                optimizer.load_state_dict(state[1])
                growl.load_state_dict(state[2])
                growl.attach(optimizer, steps=STEPS)
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            optimizer.step()
        assert growl.progress.reached
        runs.append(model)
    assert all(torch.equal(a, b) for a, b in zip(runs[0].parameters(), runs[1].parameters(), strict=True))


def test_a_fit_that_would_be_worse_is_refused_and_the_rows_go_all_the_same() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 5, bias=False), nn.Tanh())
    batches = [torch.randn(30, 4) for _ in range(4)]
    for x in batches:
        x[:, 3] = x[:, 0]
        x[:, 2] = x[:, 1]
    batches[-1][:, 3] = -3 * batches[-1][:, 0]
    batches[-1][:, 2] = -3 * batches[-1][:, 1]
    with torch.no_grad():
        model[0].weight[:, 2:] *= 0.1
    growl = tg.GrOWL(
        model, layers=["0"], min_rows=1, target=tg.Target(weights=0.6, compensate=batches), example_inputs=batches[0]
    )
    optimizer = still(model)
    growl.attach(optimizer, steps=STEPS)
    with pytest.warns(GrowlWarning, match="compensation would make the outputs worse"):
        for _ in range(FREE + 1):
            step(model, optimizer, batches[0])
    assert growl.progress.reached
    assert growl.nonzero() == {"0": 2}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"macs": 0.5, "compensate": [1]}, "a list of at least two batches"),
        ({"macs": 0.5, "compensate": 1}, "a list of at least two batches"),
        ({"macs": 0.5, "compensate": torch.zeros(4, 2)}, "a list of at least two batches"),
        ({"accuracy_drop": 1.0, "validate": len, "compensate": [1, 2]}, "an accuracy_drop takes no compensate"),
    ],
)
def test_what_cannot_be_fitted_is_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidValueError, match=message):
        tg.Target(**given)


@pytest.mark.parametrize("wrong", [torch.randn(8, 7), "text"], ids=["shape", "type"])
def test_batches_on_which_the_network_cannot_be_run_are_refused_before_the_training(wrong: Any) -> None:
    model, batches = redundant()
    target = tg.Target(weights=0.5, compensate=[batches[0], wrong])
    with pytest.raises(InvalidValueError, match="cannot be run on a batch of compensate"):
        tg.GrOWL(model, target=target, example_inputs=batches[0])


def test_a_tuple_of_batches_is_a_list_of_them() -> None:
    batches = (torch.zeros(2, 3), torch.ones(2, 3))
    found = tg.Target(macs=0.5, compensate=batches).compensate
    assert type(found) is list
    assert all(own is given for own, given in zip(found, batches, strict=True))


def test_several_optimizers_are_refused() -> None:
    model, batches = redundant()
    growl = tg.GrOWL(model, target=tg.Target(macs=0.5, compensate=batches), example_inputs=batches[0])
    parts = [torch.optim.SGD(list(layer.parameters()), lr=0.1) for layer in (model[0], model[1:])]
    with pytest.raises(InvalidValueError, match="compensate takes one optimizer"):
        growl.attach(parts, steps=STEPS)


def test_the_batches_are_no_part_of_what_a_target_is() -> None:
    batches = [torch.zeros(2, 3), torch.ones(2, 3)]
    assert tg.Target(macs=0.5, compensate=batches) == tg.Target(macs=0.5)
    assert repr(tg.Target(macs=0.5, compensate=batches)) == "Target(macs=0.5, compensate=2 batches)"
