"""Tying enforced on weights that are spread over processes: after every optimizer step, tied rows get their mean.

FSDP2 and tensor parallel have the weight as their parameter, so it cannot become a parametrization of centroids. With
SGD, momentum and weight decay included, averaging after each step is the same training (the paper's stage (ii)); with
other optimizers rows stay tied too. Where every process has a part of each row, as with FSDP2, nothing is sent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from torch_growl.errors import LayerError
from torch_growl.mathematics.clustering import Partition
from torch_growl.networks.layers import Side, rows_of, shard_rows, write_rows_
from torch_growl.networks.sharding import Shard, gathered, reshard_, sharded_modules

__all__ = ["AveragedRows", "SharedRows", "average_after_", "averaged_rows", "stop_averaging"]


@dataclass(frozen=True)
class SharedRows:
    """A layer whose weight is a DTensor, its name, and the partition of its rows."""

    name: str
    module: nn.Module
    partition: Partition
    side: Side

    @torch.no_grad()
    def average_(self) -> None:
        """Set the rows of each group to their mean, and pruned rows to zero."""
        weight = cast(Tensor, self.module.weight)
        shard = shard_rows(self.module, self.side, weight)
        dim = None if shard is None else self._whole_dim(shard)
        if shard is not None and dim is not None:
            rows = shard.local.movedim(dim, 0)
            rows.copy_(averaged_rows(rows.flatten(1), self.partition).reshape(rows.shape))
        else:
            whole = averaged_rows(rows_of(self.module, self.side, gathered(weight)), self.partition)
            write_rows_(self.module, whole, self.side)

    def _whole_dim(self, shard: Shard) -> int | None:
        """The dimension of the weight that its rows are numbered along, if every process has a part of each row."""
        along = [d for d, size in enumerate(shard.layout.numbers.shape) if size > 1]
        every = shard.layout.start == 0 and shard.layout.numbers.numel() == shard.layout.n_rows
        return along[0] if len(along) == 1 and every else None


def averaged_rows(rows: Tensor, partition: Partition) -> Tensor:
    """Return rows of which those of each group have their mean, and pruned ones are zero.

    Args:
        rows: ``(n_rows, row_length)``; not modified.
        partition: of these rows.
    """
    labels = partition.tensor(rows.device)
    sizes = torch.tensor([*partition.sizes, 1], dtype=torch.float64, device=rows.device)
    total = torch.zeros(len(sizes), rows.shape[1], dtype=torch.float64, device=rows.device)
    total.index_add_(0, labels.masked_fill(labels < 0, len(sizes) - 1), rows.double())
    total[-1] = 0.0  # pruned
    return (total / sizes.unsqueeze(1))[labels].to(rows)


class AveragedRows:
    """The hook of tied layers on an optimizer.

    Args:
        layers: the layers.
        sharded: the modules that FSDP2 gathers the weights of.
    """

    def __init__(self, layers: Sequence[SharedRows], sharded: Sequence[nn.Module]) -> None:
        self.layers, self._sharded = tuple(layers), tuple(sharded)

    def __call__(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        """Average the rows after a step."""
        reshard_(self._sharded)
        for layer in self.layers:
            layer.average_()


def average_after_(model: nn.Module, layers: Sequence[SharedRows], optimizer: Optimizer | None) -> None:
    """Average tied rows now and after every step of an optimizer.

    Args:
        model: the network.
        layers: those of its layers that are spread over processes; nothing is done if there are none.
        optimizer: the one that trains them.

    Raises:
        LayerError: there is no optimizer, it does not train a layer, or it averages rows of a layer already.
    """
    if not layers:
        return
    name = layers[0].name
    if optimizer is None:
        raise LayerError(
            f"layer {name!r} is spread over processes: give tie_ the optimizer that trains it, after whose steps tied "
            "rows are averaged"
        )
    trained = {id(p) for group in optimizer.param_groups for p in group["params"]}
    if strange := [layer.name for layer in layers if id(layer.module.weight) not in trained]:
        raise LayerError(f"the optimizer does not train the weight of {strange[0]!r}; give tie_ the one that does")
    tied = {layer.module for hook in _averaging(model, optimizer).values() for layer in hook.layers}
    if again := [layer.name for layer in layers if layer.module in tied]:
        raise LayerError(f"layer {again[0]!r} is tied already; call untie_(model, optimizer) first")
    hook = AveragedRows(layers, sharded_modules(model))
    for layer in layers:
        layer.average_()
    optimizer.register_step_post_hook(hook)


def stop_averaging(model: nn.Module, optimizer: Optimizer | None) -> bool:
    """Take the hooks that average rows of a network from an optimizer; tells whether there were any."""
    hooks = {} if optimizer is None else _averaging(model, optimizer)
    for key in hooks:
        del cast(Optimizer, optimizer)._optimizer_step_post_hooks[key]
    return bool(hooks)


def _averaging(model: nn.Module, optimizer: Optimizer) -> dict[int, AveragedRows]:
    modules = set(model.modules())
    return {
        key: hook
        for key, hook in optimizer._optimizer_step_post_hooks.items()
        if isinstance(hook, AveragedRows) and any(layer.module in modules for layer in hook.layers)
    }
