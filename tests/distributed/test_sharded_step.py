"""The proximal step on weights that are spread over processes is that of one process."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.tensor.debug import CommDebugMode

import torch_growl as tg
from tests.support.processes import on_processes
from tests.support.sharded_networks import (
    FSDP,
    MIXED,
    batch,
    both,
    convolutional,
    distance,
    hybrid,
    perceptron,
    share_of,
    tensor_parallel,
    whole,
)

STEPS, STRENGTH = 12, 5.0
CLOSE = 1e-6  # of the largest weight


class Own(torch.optim.SGD):
    """An optimizer whose step no formula is known for."""

    def step(self, closure: Any = None) -> Any:
        return super().step(closure)


def optimizer_of(model: nn.Module, name: str) -> torch.optim.Optimizer:
    if name == "SGD":
        return torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-3)
    rates = {"AdamW": 0.01, "RMSprop": 0.01, "Adamax": 0.01, "NAdam": 0.01, "Adagrad": 0.1, "Adadelta": 1.0}
    if name == "Own":
        return Own(model.parameters())
    return getattr(torch.optim, name)(model.parameters(), lr=rates[name])


def trained(model: nn.Module, optimizer: str, part: tuple[int, int] = (0, 1), **settings: Any) -> tg.GrOWL:
    """Train for some steps on one process's part of every batch."""
    convolution = isinstance(model[0], nn.Conv2d)
    own = optimizer_of(model, optimizer)
    growl = tg.GrOWL(model, STRENGTH, min_rows=1, **settings)
    growl.attach(own)
    for step in range(STEPS):
        x, y = batch(step, convolution)
        own.zero_grad()
        nn.functional.cross_entropy(model(share_of(x, *part)), share_of(y, *part)).backward()
        own.step()
    return growl


def check_equal(model: nn.Module, growl: tg.GrOWL, wanted: nn.Module, alone: tg.GrOWL) -> None:
    rows = {info.name: info.n_rows for info in tg.inspect_layers(wanted)}
    assert growl.layers == alone.layers
    assert growl.nonzero() == alone.nonzero()
    assert any(0 < left < rows[name] for name, left in alone.nonzero().items()), "the task prunes nothing"
    found, given = growl.state_dict(), alone.state_dict()
    assert all(torch.equal(found["dead"][name], given["dead"][name]) for name in alone.layers)
    assert distance(model, wanted) < CLOSE


@on_processes(2, 3, 4)
def test_fsdp2_trains_as_one_process_does(rank: int, world: int) -> None:
    for make, optimizer, ways in (
        (perceptron, "SGD", ("root", "layers", "blocks")),
        (perceptron, "AdamW", ("layers", "offloaded")),
        (convolutional, "SGD", ("root",)),
    ):
        wanted = make()
        alone = trained(wanted, optimizer)
        for name in ways:
            model = make()
            FSDP[name](model)
            check_equal(model, trained(model, optimizer, (rank, world)), wanted, alone)


@on_processes(2)
def test_every_optimizer_has_the_same_step_length_on_shards(rank: int, world: int) -> None:
    for optimizer in ("RMSprop", "Adamax", "NAdam", "Adagrad", "Adadelta", "Own"):
        wanted, model = perceptron(), perceptron()
        alone = trained(wanted, optimizer)
        FSDP["root"](model)
        growl = trained(model, optimizer, (rank, world))
        assert growl.nonzero() == alone.nonzero(), optimizer
        assert distance(model, wanted) < CLOSE, optimizer


@on_processes(2, 3, 4)
def test_tensor_parallel_trains_as_one_process_does(rank: int, world: int) -> None:
    for optimizer in ("SGD", "AdamW"):
        wanted, model = perceptron(), perceptron()
        tensor_parallel(model)
        check_equal(model, trained(model, optimizer), wanted, trained(wanted, optimizer))


@on_processes(2, 3, 4)
def test_tensor_parallel_layers_may_be_cut_unevenly(rank: int, world: int) -> None:
    wanted, model = perceptron(inner=13), perceptron(inner=13)
    tensor_parallel(model)
    growl, alone = tg.GrOWL(model, min_rows=1), tg.GrOWL(wanted, min_rows=1)
    for _ in range(60):
        growl.prox_(0.5)
        alone.prox_(0.5)
    check_equal(model, growl, wanted, alone)


@on_processes(4)
def test_meshes_of_two_dimensions_train_as_one_process_does(rank: int, world: int) -> None:
    for optimizer in ("SGD", "AdamW"):
        wanted, model, copies = perceptron(), perceptron(), perceptron()
        alone = trained(wanted, optimizer)
        both(model)
        check_equal(model, trained(model, optimizer, (rank // 2, 2)), wanted, alone)
        hybrid(copies)
        check_equal(copies, trained(copies, optimizer, (rank, world)), wanted, alone)


@on_processes(2, 4)
def test_rows_are_outputs_too(rank: int, world: int) -> None:
    wanted, model = perceptron(), perceptron()
    FSDP["root"](model)
    check_equal(
        model, trained(model, "SGD", (rank, world), side="output"), wanted, trained(wanted, "SGD", side="output")
    )


@on_processes(2)
def test_mixed_precision_shrinks_the_float32_shards(rank: int, world: int) -> None:
    from torch.distributed.fsdp import fully_shard

    model, wanted = perceptron(torch.float32), perceptron(torch.float32)
    fully_shard(model, mp_policy=MIXED)
    growl, alone = tg.GrOWL(model), tg.GrOWL(wanted)
    model(batch(0, False, torch.float32)[0]).square().mean().backward()
    for _ in range(5):
        growl.prox_(0.1)
        alone.prox_(0.1)
    assert model[0].weight.dtype == torch.float32
    assert distance(model, wanted) < CLOSE


@on_processes(2, 3, 4)
def test_rows_in_half_precision_owe_the_same_factors(rank: int, world: int) -> None:
    wanted, model = perceptron(torch.bfloat16), perceptron(torch.bfloat16)
    FSDP["root"](model)
    growl, alone = tg.GrOWL(model), tg.GrOWL(wanted)
    for _ in range(40):
        growl.prox_(0.01)
        alone.prox_(0.01)
    assert growl.nonzero() == alone.nonzero()
    assert distance(model, wanted) < 2 * torch.finfo(torch.bfloat16).eps


@on_processes(2, 3, 4)
def test_a_step_sends_its_row_norms_in_one_collective(rank: int, world: int) -> None:
    for shard in (FSDP["layers"], tensor_parallel, *((both, hybrid) if world == 4 else ())):
        for optimizer in ("SGD", "AdamW"):
            model = perceptron()
            shard(model)
            own = optimizer_of(model, optimizer)
            growl = tg.GrOWL(model)
            model(batch(0, False)[0]).square().mean().backward()
            own.step()
            growl.attach(own)
            with CommDebugMode() as counted:
                own.step()
            assert counted.get_total_counts() == 1, (shard, optimizer, counted.get_comm_counts())
            with CommDebugMode() as counted:
                growl.state_dict()
            assert counted.get_total_counts() == 0


@on_processes(2, 3, 4)
def test_ddp_stays_bit_equal_on_all_processes_and_sends_nothing(rank: int, world: int) -> None:
    model, wanted = perceptron(torch.float32), perceptron(torch.float32)
    wrapped = nn.parallel.DistributedDataParallel(model)
    for network, given in ((wrapped, model), (wanted, wanted)):
        own = optimizer_of(network, "AdamW")
        growl = tg.GrOWL(network, STRENGTH)
        growl.attach(own)
        for step in range(STEPS):
            x, y = batch(step, False, torch.float32)
            own.zero_grad()
            nn.functional.cross_entropy(network(x), y).backward()
            own.step()
        with CommDebugMode() as counted:
            growl.prox_(0.1)
        assert counted.get_total_counts() == 0
        assert any(not rows.eq(0).all() for rows in growl.state_dict()["dead"].values())
        for value in given.state_dict().values():
            copies = [torch.empty_like(value) for _ in range(world)]
            dist.all_gather(copies, value.detach())
            assert all(torch.equal(each, copies[0]) for each in copies)
    if world != 3:  # the mean of equal gradients of 2 or 4 processes is exact
        assert all(torch.equal(whole(model)[name], value) for name, value in whole(wanted).items())


@on_processes(2, 3)
def test_the_penalty_has_the_value_and_the_gradient_of_one_process(rank: int, world: int) -> None:
    for make in (perceptron, convolutional):
        wanted, model = make(), make()
        tg_alone, growl = tg.GrOWL(wanted), None
        FSDP["layers"](model)
        growl = tg.GrOWL(model)
        value, given = growl.penalty(), tg_alone.penalty()
        torch.testing.assert_close(value, given)
        value.backward()
        given.backward()
        for name, p in model.named_parameters():
            gradient = dict(wanted.named_parameters())[name].grad
            if gradient is not None:
                torch.testing.assert_close(p.grad.full_tensor(), gradient)
