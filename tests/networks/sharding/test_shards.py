"""One process's part of a sharded weight: the numbers of its rows, for any layer and any placement."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.tensor import DTensor, Partial, Replicate, Shard, distribute_tensor

from tests.support.fake_processes import playing
from torch_growl.networks.layers import registered_kind, rows_of, scale_rows_, shard_rows, write_rows_
from torch_growl.networks.sharding import is_sharded, local_of, shard_of, unusable_placement, whole_shaped

LAYERS = {
    "linear": nn.Linear(5, 7),
    "convolution": nn.Conv2d(3, 7, 3),
    "grouped": nn.Conv2d(6, 9, 3, groups=3),
    "depthwise": nn.Conv1d(5, 5, 3, groups=5),
    "transposed": nn.ConvTranspose1d(4, 6, 2, groups=2),
}
WORLD = 4


def mesh_of(rank: int, world: int) -> DeviceMesh:
    """A mesh with a name of its own: torch takes equal meshes for one, whatever this process's rank was."""
    return init_device_mesh("cpu", (world,), mesh_dim_names=(f"seen by {rank}",))


def sharded(layer: nn.Module, dim: int, rank: int) -> None:
    """Replace a layer's weight by a DTensor whose local part this process would have."""
    mesh = mesh_of(rank, WORLD)
    weight = distribute_tensor(layer.weight.detach().clone(), mesh, [Shard(dim)], src_data_rank=None)
    layer.weight = nn.Parameter(weight)


@pytest.mark.parametrize("dim", [0, 1])
@pytest.mark.parametrize("side", ["input", "output"])
@pytest.mark.parametrize("name", LAYERS)
def test_parts_of_all_processes_add_up_to_the_rows(name: str, side: str, dim: int) -> None:
    whole = LAYERS[name]
    rows = rows_of(whole, side).detach().double()
    squares, nonzeros = torch.zeros(len(rows), dtype=torch.float64), torch.zeros(len(rows), dtype=torch.float64)
    scaled, written = [], []
    for rank in range(WORLD):
        with playing(rank, WORLD):
            layer = nn.Module.__new__(type(whole))
            layer.__dict__ = {**vars(whole), "_parameters": dict(whole._parameters)}
            sharded(layer, dim, rank)
            part = shard_rows(layer, side)
            assert part is not None
            squares += part.squares()
            nonzeros += part.nonzeros()
            scale_rows_(layer, torch.arange(1.0, len(rows) + 1), side)
            scaled.append(local_of(layer.weight).detach().clone())
            write_rows_(layer, (rows * 3).float(), side)
            written.append(local_of(layer.weight).detach().clone())
    torch.testing.assert_close(squares, rows.square().sum(1))
    assert (nonzeros == rows.shape[1]).all()
    factors = torch.arange(1.0, len(rows) + 1)
    wanted = nn.Parameter(whole.weight.detach().clone())
    scale_rows_(whole, factors, side, wanted)
    torch.testing.assert_close(torch.cat(scaled, dim), wanted.detach())
    torch.testing.assert_close(torch.cat(written, dim), whole.weight.detach() * 3)


def test_rows_that_lie_in_memory_as_in_a_whole_weight_have_a_start() -> None:
    with playing(1, WORLD):
        mesh = mesh_of(1, WORLD)
        for dim, start in ((0, 0), (1, 2)):
            weight = distribute_tensor(torch.ones(8, 8), mesh, [Shard(dim)], src_data_rank=None)
            part = shard_of(weight, lambda whole: whole.t().unsqueeze(0))
            assert part.layout.start == start
            assert part.layout.dims == (0,)
        grouped = nn.Conv2d(8, 8, 1, groups=2)
        sharded(grouped, 0, 1)
        assert shard_rows(grouped).layout.start is None


def test_copies_on_all_processes_are_whole_and_one_counts() -> None:
    for rank in range(2):
        with playing(rank, 2):
            mesh = mesh_of(rank, 2)
            weight = DTensor.from_local(torch.ones(3, 4), mesh, [Replicate()], run_check=False)
            part = shard_of(weight, lambda whole: whole.t().unsqueeze(0))
            assert part.layout.dims == ()
            assert part.layout.counts == (rank == 0)
            torch.testing.assert_close(part.squares(), torch.full((4,), 3.0, dtype=torch.float64))


def test_parts_of_sums_are_refused() -> None:
    with playing(0, 2):
        mesh = mesh_of(0, 2)
        weight = DTensor.from_local(torch.ones(3, 4), mesh, [Partial()], run_check=False)
        assert "must be sharded or replicated" in unusable_placement(weight)
        assert unusable_placement(DTensor.from_local(torch.ones(3, 4), mesh, [Shard(1)], run_check=False)) == ""


def test_a_plain_tensor_is_no_shard() -> None:
    weight = torch.ones(2, 2)
    assert not is_sharded(weight)
    assert local_of(weight) is weight
    assert whole_shaped(weight) is weight
    assert shard_rows(nn.Linear(2, 2)) is None
    assert registered_kind(nn.Linear(2, 3)).n_rows(nn.Linear(2, 3), "output") == 3
