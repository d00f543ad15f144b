"""How far one optimizer step goes along the gradient, so that a strength means the same with every optimizer.

An optimizer with a penalty's prox after its steps rests where ``gradient = threshold / step · subgradient``. With
plain SGD the step is the learning rate. With momentum m it is lr / (1 − m), for that is how far the gradients of a
steady run add up; with Adam it is lr / √v̂, v̂ the running mean of the squared gradient (Kingma, Ba, 2015), of which one
number is taken for a layer, so that rows stay comparable.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor
from torch.optim import Optimizer

__all__ = ["step_size"]

_LEAST = 1e-12


@torch.no_grad()
def step_size(optimizer: Optimizer, group: dict[str, Any], weight: Tensor) -> float | Tensor:
    """The length of a step along the gradient of ``weight``, a member of the optimizer's ``group``.

    Returns:
        lr · (1 − dampening) / (1 − momentum) where the group has a momentum; lr / √(mean of v̂) where the optimizer
        keeps squared gradients as Adam does (``exp_avg_sq``) or RMSprop (``square_avg``); lr otherwise. A tensor where
        the learning rate is one, or where ``capturable`` forbids to wait for the device.
    """
    lr = cast("float | Tensor", group["lr"])
    momentum = float(group.get("momentum") or 0.0)
    if momentum:
        lr = lr * ((1 - float(group.get("dampening") or 0.0)) / (1 - momentum))
    state = optimizer.state.get(weight, {})
    squared = state.get("exp_avg_sq", state.get("square_avg"))
    if not isinstance(squared, Tensor):
        return lr
    mean = squared.mean(dtype=torch.float32)
    if "exp_avg_sq" in state and "betas" in group and "step" in state:
        mean = mean / (1 - group["betas"][1] ** state["step"].to(mean.device))
    root = mean.sqrt() + float(group.get("eps") or 0.0)
    if group.get("capturable"):
        return lr / root.clamp_min(_LEAST)
    return lr / max(float(root), _LEAST)
