"""Batch norm over the examples of all processes, on any device; torch's SyncBatchNorm needs a GPU.

With it, training with DistributedDataParallel is that of one process, but for the order of sums.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

__all__ = ["joint_batch_norms"]


@contextmanager
def joint_batch_norms(model: nn.Module) -> Iterator[None]:
    """Let the batch norms of a network in training see the examples of all processes.

    Args:
        model: the network; all processes call it with their shares of a batch. Its layers are as before afterwards.
    """
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    for module in norms:
        vars(module)["forward"] = partial(_forward, module)
    try:
        yield
    finally:
        for module in norms:
            del vars(module)["forward"]


def _forward(module: _BatchNorm, x: Tensor) -> Tensor:
    if not module.training:
        return type(module).forward(module, x)
    module._check_input_dim(x)
    given, x = x.dtype, x.to(torch.promote_types(x.dtype, torch.float32))  # float16 counts to 65504
    dims = [d for d in range(x.ndim) if d != 1]
    shape = [1, -1, *[1] * (x.ndim - 2)]
    count = x.numel() // x.shape[1]
    sums = _over_processes(torch.cat([x.sum(dims), x.new_full((1,), count)]))
    mean, total = sums[:-1] / sums[-1], sums[-1].detach()
    centred = x - mean.reshape(shape)
    variance = _over_processes(centred.square().sum(dims)) / total
    if module.running_mean is not None and module.running_var is not None:
        with torch.no_grad():
            module.num_batches_tracked.add_(1)  # type: ignore[union-attr]
            share = 1 / float(module.num_batches_tracked) if module.momentum is None else module.momentum  # type: ignore[arg-type]
            module.running_mean.lerp_(mean.to(module.running_mean), share)
            module.running_var.lerp_((variance * total / (total - 1)).to(module.running_var), share)
    y = centred * torch.rsqrt(variance + module.eps).reshape(shape)
    if module.affine:
        y = y * module.weight.reshape(shape) + module.bias.reshape(shape)
    return y.to(given)


class _Sum(torch.autograd.Function):
    """The sum over processes; the gradient of every process's values is the sum of all processes' gradients."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        total = values.detach().clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].contiguous().clone()
        dist.all_reduce(total)
        return total


def _over_processes(values: Tensor) -> Tensor:
    return cast(Tensor, cast(Any, _Sum).apply(values))
