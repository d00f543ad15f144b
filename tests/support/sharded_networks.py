"""Small networks and the ways to spread them over processes, for ``tests/distributed``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import CPUOffloadPolicy, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module

EXAMPLES = 12  # a batch that 2, 3 and 4 processes share evenly


class Block(nn.Module):
    """Two linear layers around an activation, added to the input; by default torch can run them tensor parallel."""

    def __init__(self, inner: int = 12) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(10, inner), nn.Linear(inner, 10)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.down(self.up(x).relu())


def perceptron(dtype: torch.dtype = torch.float64, inner: int = 12) -> nn.Module:
    """A perceptron of two blocks; few numbers of processes divide its sizes."""
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(7, 10), nn.ReLU(), Block(inner), Block(inner), nn.Linear(10, 3)).to(dtype)


def convolutional(dtype: torch.dtype = torch.float64) -> nn.Module:
    """A network with convolutions, one of them grouped, and one transposed."""
    torch.manual_seed(3)
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(6, 9, 3, padding=1, groups=3),
        nn.ReLU(),
        nn.ConvTranspose2d(9, 4, 2, groups=1),
        nn.Flatten(),
        nn.Linear(4 * 25, 3),
    ).to(dtype)


def batch(step: int, convolution: bool, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    """Inputs and classes that depend on few of the inputs, the same on every process."""
    generator = torch.Generator().manual_seed(step)
    shape = (EXAMPLES, 3, 4, 4) if convolution else (EXAMPLES, 7)
    x = torch.randn(*shape, generator=generator, dtype=dtype)
    return x, (x.flatten(1)[:, 0] > 0).long() + (x.flatten(1)[:, 1] > 1).long()


def by_root(model: nn.Module) -> None:
    fully_shard(model)


def by_layer(model: nn.Module) -> None:
    for module in list(model.modules()):
        if next(module.children(), None) is None and next(module.parameters(), None) is not None:
            fully_shard(module)
    fully_shard(model)


def by_block(model: nn.Module) -> None:
    for module in model.modules():
        if isinstance(module, Block):
            fully_shard(module)
    fully_shard(model, reshard_after_forward=False)


def offloaded(model: nn.Module) -> None:
    fully_shard(model, offload_policy=CPUOffloadPolicy(pin_memory=False))


def tensor_parallel(model: nn.Module, mesh: Any = None) -> None:
    plan: dict[str, Any] = {"2.up": ColwiseParallel(), "2.down": RowwiseParallel(), "3.up": ColwiseParallel()}
    plan["3.down"] = RowwiseParallel()
    parallelize_module(model, mesh or init_device_mesh("cpu", (dist.get_world_size(),)), plan)


def both(model: nn.Module) -> None:
    mesh = init_device_mesh("cpu", (2, 2), mesh_dim_names=("data", "model"))
    tensor_parallel(model, mesh["model"])
    for module in model.modules():
        if isinstance(module, Block):
            fully_shard(module, mesh=mesh["data"])
    fully_shard(model, mesh=mesh["data"])


def hybrid(model: nn.Module) -> None:
    fully_shard(model, mesh=init_device_mesh("cpu", (2, 2), mesh_dim_names=("copies", "shards")))


FSDP: dict[str, Callable[[nn.Module], None]] = {
    "root": by_root,
    "layers": by_layer,
    "blocks": by_block,
    "offloaded": offloaded,
}
MIXED = MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32)


def share_of(x: Tensor, rank: int, world: int) -> Tensor:
    """The examples of one process."""
    return x[rank * len(x) // world : (rank + 1) * len(x) // world]


def whole(model: nn.Module) -> dict[str, Tensor]:
    """The parameters, whole, on every process."""
    return {n: p.full_tensor() if hasattr(p, "full_tensor") else p.detach() for n, p in model.named_parameters()}


def distance(model: nn.Module, wanted: nn.Module) -> float:
    """The largest difference of two networks' parameters, over the largest parameter."""
    found, given = whole(model), {n: p.detach() for n, p in wanted.named_parameters()}
    assert found.keys() == given.keys()
    return max(float((found[n] - given[n]).abs().max() / given[n].abs().max()) for n in given)
