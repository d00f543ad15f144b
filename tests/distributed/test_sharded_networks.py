"""What is done to a network that is spread over processes: tied, copied, compacted, saved, led to a target."""

from __future__ import annotations

import copy
import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch import nn
from torch.distributed.checkpoint.state_dict import get_state_dict, set_state_dict

import torch_growl as tg
from tests.support.processes import on_processes
from tests.support.sharded_networks import FSDP, batch, both, convolutional, distance, perceptron, share_of
from tests.support.sharded_networks import tensor_parallel as by_tensor
from torch_growl.errors import InvalidValueError, LayerError
from torch_growl.networks.layers import rows_of
from torch_growl.networks.sharding import joint_batch_norms

CLOSE = 1e-6


def ways(world: int) -> list[Any]:
    return [FSDP["layers"], by_tensor, *([both] if world == 4 else [])]


def with_similar_rows(model: nn.Module) -> nn.Module:
    """Make rows of two layers zero or nearly equal."""
    with torch.no_grad():
        for layer in (model[2].up, model[2].down):
            rows = layer.weight.T
            rows[1] = rows[0] * 1.01
            rows[5] = rows[4]
            rows[7] = 0
    return model


def sgd(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-3)


def train(model: nn.Module, optimizer: torch.optim.Optimizer, steps: range, part: tuple[int, int]) -> None:
    for step in steps:
        x, y = batch(step, isinstance(model[0], nn.Conv2d))
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(share_of(x, *part)), share_of(y, *part)).backward()
        optimizer.step()


def part_of(shard: Any, rank: int, world: int) -> tuple[int, int]:
    return {by_tensor: (0, 1), both: (rank // 2, 2)}.get(shard, (rank, world))


@on_processes(2, 3, 4)
def test_tied_rows_are_found_and_trained_as_on_one_process(rank: int, world: int) -> None:
    names = ["2.up", "2.down"]
    wanted = with_similar_rows(perceptron())
    tying = tg.find_tying(wanted, names)
    assert tying.sharing > 1
    assert tying.sparsity > 0
    tg.tie_(wanted, tying)
    optimizer = sgd(wanted)
    train(wanted, optimizer, range(5), (0, 1))
    tg.untie_(wanted, optimizer)
    for shard in ways(world):
        model = with_similar_rows(perceptron())
        shard(model)
        assert tg.find_tying(model, names) == tying
        with pytest.raises(LayerError, match="'2.up' is spread over processes: give tie_ the optimizer"):
            tg.tie_(model, tying)
        own = sgd(model)
        assert tg.tie_(model, tying, own) is model
        with pytest.raises(LayerError, match="'2.up' is tied already"):
            tg.tie_(model, tying, own)
        train(model, own, range(5), part_of(shard, rank, world))
        for layer in tying:
            assert layer.partition.holds(rows_of(model.get_submodule(layer.name)))
        assert distance(model, wanted) < CLOSE
        tg.untie_(model, own)
        with pytest.raises(LayerError, match="give the optimizer that was given to tie_"):
            tg.untie_(model, own)


@on_processes(2, 4)
def test_a_network_is_copied_and_compacted_on_every_process(rank: int, world: int) -> None:
    x = batch(0, False)[0]
    plain = with_similar_rows(perceptron())
    wanted = tg.compact(plain, x)
    for shard in ways(world):
        model = with_similar_rows(perceptron())
        shard(model)
        with torch.no_grad():
            before = model(x)
        small = tg.compact(model, x)
        assert [tuple(p.shape) for p in small.parameters()] == [tuple(p.shape) for p in wanted.parameters()]
        assert all(torch.equal(a, b) for a, b in zip(small.parameters(), wanted.parameters(), strict=True))
        torch.testing.assert_close(small(x), before)
        with torch.no_grad():
            torch.testing.assert_close(model(x), before)  # the network itself goes on


@on_processes(2)
def test_a_target_is_reached_as_on_one_process(rank: int, world: int) -> None:
    for make in (perceptron, convolutional):
        networks = (make(), make())
        FSDP["root"](networks[1])
        example = batch(0, make is convolutional)[0]
        growls = [tg.GrOWL(each, target=tg.Target(macs=0.6), example_inputs=example) for each in networks]
        for network, growl, part in zip(networks, growls, ((0, 1), (rank, world)), strict=True):
            optimizer = sgd(network)
            growl.attach(optimizer, steps=20)
            train(network, optimizer, range(20), part)
        assert growls[0].progress.reached
        assert growls[1].progress == growls[0].progress
        assert distance(networks[1], networks[0]) < CLOSE


@on_processes(2)
def test_rows_that_go_in_one_step_are_the_same_on_all_processes(rank: int, world: int) -> None:
    """Each process has other running means, from its own examples, and would fit other weights."""
    for ties in (False, True):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(7, 20), nn.BatchNorm1d(20), nn.ReLU(), nn.Linear(20, 3))
        wrapped = nn.parallel.DistributedDataParallel(model)
        batches = [batch(100 + number, False, torch.float32)[0] for number in range(4)]
        target = tg.Target(weights=0.6, compensate=batches, ties=ties)
        growl = tg.GrOWL(model, target=target, example_inputs=batches[0], min_rows=2)
        optimizer = sgd(wrapped)
        growl.attach(optimizer, steps=20)
        for number in range(8):
            x, y = batch(number, False, torch.float32)
            optimizer.zero_grad()
            nn.functional.cross_entropy(wrapped(share_of(x, rank, world)), share_of(y, rank, world)).backward()
            optimizer.step()
        assert growl.progress.reached
        for parameter in model.parameters():
            first = parameter.detach().clone()
            dist.broadcast(first, 0)
            torch.testing.assert_close(parameter.detach(), first, rtol=1e-6, atol=1e-7)


@on_processes(2)
def test_a_network_that_is_spread_is_not_fitted(rank: int, world: int) -> None:
    model = perceptron()
    FSDP["root"](model)
    x = batch(0, False)[0]
    growl = tg.GrOWL(model, target=tg.Target(macs=0.6, compensate=[x, x + 1]), example_inputs=x)
    with pytest.raises(InvalidValueError, match=r"fits whole weights; '0.weight' is spread over processes"):
        growl.attach(sgd(model), steps=20)


@on_processes(2, 3, 4)
def test_a_distributed_checkpoint_goes_on_in_another_layout(rank: int, world: int) -> None:
    whole = perceptron()
    optimizer, growl = sgd(whole), tg.GrOWL(whole, 5.0)
    growl.attach(optimizer)
    train(whole, optimizer, range(12), (0, 1))
    folder = [tempfile.mkdtemp() if rank == 0 else ""]
    dist.broadcast_object_list(folder)
    states: list[dict[str, Any]] = []
    for shard, steps in ((FSDP["layers"], range(6)), (by_tensor, range(6, 12))):
        model = perceptron()
        shard(model)
        optimizer, growl = sgd(model), tg.GrOWL(model, 5.0)
        growl.attach(optimizer)
        if steps.start:
            weights, moments = get_state_dict(model, optimizer)
            state = {"model": weights, "optimizer": moments, "growl": growl.state_dict()}
            dcp.load(state, checkpoint_id=folder[0])
            set_state_dict(model, optimizer, model_state_dict=state["model"], optim_state_dict=state["optimizer"])
            growl.load_state_dict(state["growl"])
            assert growl.steps == 6
        train(model, optimizer, steps, part_of(shard, rank, world))
        weights, moments = get_state_dict(model, optimizer)
        states.append({"model": weights, "optimizer": moments, "growl": growl.state_dict()})
        if not steps.start:
            dcp.save(states[0], checkpoint_id=folder[0])
    assert distance(model, whole) < CLOSE
    assert sum(int(rows.sum()) for rows in growl.state_dict()["dead"].values()) > 0
    if rank == 0:
        for file in Path(folder[0]).rglob("*"):
            file.unlink()


@on_processes(2)
def test_our_words_for_a_network_that_fsdp2_shards(rank: int, world: int) -> None:
    model = perceptron()
    FSDP["root"](model)
    with pytest.raises(Exception, match="does not support deepcopy"):  # torch's own
        copy.deepcopy(model)
    with pytest.raises(LayerError, match="capturable=True needs whole weights; that of layer '0' is spread"):
        tg.GrOWL(model, capturable=True)
    x = batch(0, False)[0]
    assert "2.up" in str(tg.doctor(model, x))
    with pytest.raises(InvalidValueError, match="each process would measure another latency"):
        tg.GrOWL(perceptron(), target=tg.Target(latency_ms=0.5), example_inputs=x)
    average = torch.optim.swa_utils.AveragedModel(perceptron())
    tg.GrOWL(model).average_(average)


@on_processes(2, 3)
def test_batch_norms_see_the_examples_of_all_processes(rank: int, world: int) -> None:
    torch.manual_seed(0)
    wanted = nn.Sequential(nn.Conv1d(3, 4, 2), nn.BatchNorm1d(4), nn.Flatten(), nn.Linear(4 * 4, 5), nn.BatchNorm1d(5))
    wanted[4].momentum = None
    wanted.double()
    model = copy.deepcopy(wanted)
    wrapped = nn.parallel.DistributedDataParallel(model)
    x = torch.randn(12, 3, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    for _ in range(2):
        wanted(x).pow(3).mean().backward()
        with joint_batch_norms(model):
            wrapped(share_of(x, rank, world)).pow(3).mean().backward()
    for (name, value), found in zip(wanted.state_dict().items(), model.state_dict().values(), strict=True):
        torch.testing.assert_close(found, value, msg=name)
    for given, found in zip(wanted.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(found.grad, given.grad)
    model.eval()
    assert torch.equal(model(x), copy.deepcopy(model)(x))
