"""Proximal steps with schedule-free optimizers (Defazio et al., 2024), which train three sequences of weights.

Gradients are taken at y, the weights while training; the optimizer's step moves z; x, the weights in evaluation, is an
average of z. As y = (1 − β) z + β x, what the prox does to y is done to z, and y follows as in a step of the optimizer.
Shrinking y alone would leave z and x as they were. A row that is zero in y is set to zero in z, hence in x.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import cast

import torch
from torch import Tensor
from torch.optim import Optimizer

from torch_growl.networks.optimizers.formulas import groups_of, is_schedule_free

__all__ = ["base_of", "carried_to_base"]


def base_of(optimizer: Optimizer, weight: Tensor) -> Tensor | None:
    """The sequence z of a weight; None if the optimizer is not schedule-free or has not made a step yet."""
    return cast("Tensor | None", optimizer.state.get(weight, {}).get("z")) if is_schedule_free(optimizer) else None


@contextmanager
def carried_to_base(optimizer: Optimizer, weights: Mapping[str, Tensor]) -> Iterator[bool]:
    """Carry what is done to the weights inside over to z, and to y as a step of the optimizer would.

    Args:
        optimizer: any; nothing is done if it is not schedule-free.
        weights: by layer name; the optimizer trains them.

    Yields:
        Whether there is anything to carry. Rows that became zero in y must be set to zero in z and y afterwards.
    """
    bases = {name: base for name, weight in weights.items() if (base := base_of(optimizer, weight)) is not None}
    before = {name: weights[name].detach().clone() for name in bases}
    yield bool(bases)
    groups = groups_of(optimizer)
    with torch.no_grad():
        for name, base in bases.items():
            weight = weights[name]
            group, moved = groups[id(weight)], weight - before[name]
            beta = group["betas"][0] if "betas" in group else group["momentum"]
            base.add_(moved)
            weight.copy_(before[name].add_(moved, alpha=1 - beta))
