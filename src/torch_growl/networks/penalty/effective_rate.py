"""The length of one optimizer step along the gradient, so that a strength means the same with every optimizer.

An optimizer whose steps are followed by a penalty's prox comes to rest where ``gradient = threshold / step ·
subgradient``. With plain SGD the step is the learning rate. With momentum m it is lr / (1 − m), the sum to which the
gradients of a steady run add up; with Adam it is lr / √v̂, v̂ the running mean of the squared gradient (Kingma, Ba,
2015), averaged over the layer, so that rows stay comparable.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor
from torch.optim import Optimizer

from torch_growl.errors import LayerError

__all__ = ["prox_rates", "step_size"]

_LEAST = 1e-12


def prox_rates(
    optimizer: Optimizer, weights: Mapping[str, Tensor], *, scale_free: bool, period: int
) -> dict[str, float | Tensor]:
    """The learning rate of each layer for a prox that runs after every ``period`` steps.

    Args:
        optimizer: trains every weight.
        weights: by layer name.
        scale_free: True: the length of the optimizer's steps times the period; False (the paper's form): the learning
            rate of one step.
        period: steps between two applications.

    Raises:
        LayerError: the optimizer does not train a weight.
    """
    groups = {id(weight): group for group in optimizer.param_groups for weight in group["params"]}
    if missing := [name for name, weight in weights.items() if id(weight) not in groups]:
        raise LayerError(
            f"the optimizer does not train the weight of {', '.join(map(repr, missing))}; give it those "
            "parameters, or leave the layers out with layers="
        )
    if not scale_free:
        return {name: groups[id(weight)]["lr"] for name, weight in weights.items()}
    return {name: step_size(optimizer, groups[id(weight)], weight) * period for name, weight in weights.items()}


@torch.no_grad()
def step_size(optimizer: Optimizer, group: dict[str, Any], weight: Tensor) -> float | Tensor:
    """The length of a step along the gradient of ``weight``, a member of the optimizer's ``group``.

    Returns:
        lr · (1 − dampening) / (1 − momentum) if the group has a momentum; lr / √(mean of v̂) if the optimizer keeps
        squared gradients as Adam does (``exp_avg_sq``) or RMSprop (``square_avg``); lr otherwise. It is a tensor if
        the learning rate is one, or if the group is ``capturable`` and so must not wait for the device.
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
