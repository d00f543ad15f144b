"""Networks made to look as after training with GrOWL: zero rows, equal rows, settled batch normalisation."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from torch_growl.networks.layers import kind_of, rows_of, write_rows_

__all__ = ["set_rows_", "settle_", "zero_and_tie_"]


def settle_(model: nn.Module) -> nn.Module:
    """Give every batch normalisation statistics and weights as after training."""
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
            module.num_batches_tracked.fill_(7)
            if module.affine:
                nn.init.normal_(module.weight, 1, 0.3)
                nn.init.normal_(module.bias)
    return model


@torch.no_grad()
def set_rows_(layer: nn.Module, *, zero: Sequence[int] = (), tied: Sequence[Sequence[int]] = ()) -> nn.Module:
    """Prune and tie a layer's rows of inputs.

    Args:
        layer: of a registered type; modified and returned.
        zero: the rows that become zero.
        tied: groups of rows; every row of a group becomes a copy of the group's first one.
    """
    rows = rows_of(layer).detach().clone()
    for members in tied:
        rows[list(members)] = rows[members[0]].clone()
    rows[list(zero)] = 0
    write_rows_(layer, rows)
    return layer


def zero_and_tie_(model: nn.Module, block: int = 1) -> nn.Module:
    """Zero a third of every layer's rows (whole blocks before the first Linear) and tie pairs of what is left."""
    first = True
    for module in model.modules():
        if kind_of(module) is None:
            continue
        count = len(rows_of(module))
        size = block if type(module) is nn.Linear and first else 1
        first = first and type(module) is not nn.Linear
        zero = [row for row in range(count) if row // size % 3 == 1]
        set_rows_(module, zero=zero)
        if count >= 6:
            set_rows_(module, tied=[(2, 5), (0, count - 1)])
    return model
