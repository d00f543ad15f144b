"""The length of one optimizer step along the gradient, so that a strength means the same with every optimizer.

An optimizer whose steps are followed by a penalty's prox comes to rest where ``gradient = threshold / step ·
subgradient``. With plain SGD the step is the learning rate. With momentum m it is lr / (1 − m), the sum to which the
gradients of a steady run add up; with Adam it is lr / √v̂. Other optimizers have formulas of their own in
:mod:`torch_growl.networks.optimizers.formulas`, or are measured.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor
from torch.optim import Optimizer

from torch_growl.errors import InvalidValueError
from torch_growl.networks.optimizers.formulas import Formula, formula_of, groups_of, sgd
from torch_growl.networks.optimizers.measured_step import StepMeter
from torch_growl.networks.sharding import Rate, is_sharded, pending_length

__all__ = ["Rate", "StepLengths"]


class StepLengths:
    """The lengths of an optimizer's steps for some weights.

    Args:
        optimizer: any optimizer that is not refused.

    Raises:
        InvalidValueError: the optimizer cannot be followed by a proximal step.
    """

    def __init__(self, optimizer: Optimizer) -> None:
        self.optimizer = optimizer
        self._formula = formula_of(optimizer)
        self._meters: dict[str, StepMeter] = {}

    @property
    def measured(self) -> bool:
        """Tell whether :meth:`before` and :meth:`after` must be called around every step."""
        return self._formula is None

    def trained(self, weights: Mapping[str, Tensor]) -> set[str]:
        """The names of those weights that the optimizer trains."""
        own = groups_of(self.optimizer)
        return {name for name, weight in weights.items() if id(weight) in own}

    def before(self, weights: Mapping[str, Tensor]) -> None:
        """Measure the weights before the optimizer's step."""
        groups = groups_of(self.optimizer)
        for name, weight in weights.items():
            lr = groups[id(weight)].get("lr")
            self._meters.setdefault(name, StepMeter()).before(weight, 1.0 if lr is None else float(lr))

    def after(self, weights: Mapping[str, Tensor], *, skipped: bool = False) -> None:
        """Measure the weights after the optimizer's step, which a gradient scaler may have skipped."""
        for name, weight in weights.items():
            if name in self._meters:
                self._meters[name].after(weight, None if skipped else weight.grad)

    def rates(self, weights: Mapping[str, Tensor], *, scale_free: bool, period: int) -> dict[str, Rate]:
        """The learning rate of each weight for a prox that runs after every ``period`` steps.

        For a sharded weight it may wait for sums over processes.

        Args:
            weights: by layer name; the optimizer trains all of them.
            scale_free: True: the length of the optimizer's steps times the period; False (the paper's form): the
                learning rate of one step.
            period: steps between two applications.

        Raises:
            InvalidValueError: the paper's form is used and the optimizer has no learning rate.
        """
        groups = groups_of(self.optimizer)
        if not scale_free:
            return {name: _learning_rate(self.optimizer, groups[id(weight)]) for name, weight in weights.items()}
        if self._formula is None:
            return {
                name: self._meters[name].length(weight) * period if name in self._meters else 0.0
                for name, weight in weights.items()
            }
        return {
            name: _length(self._formula, self.optimizer, groups[id(weight)], weight) * period
            for name, weight in weights.items()
        }


def _learning_rate(optimizer: Optimizer, group: dict[str, Any]) -> float | Tensor:
    if group.get("lr") is None:
        raise InvalidValueError(
            f"{type(optimizer).__name__} has no learning rate, which form='paper' needs; use form='scale-free'"
        )
    return cast("float | Tensor", group["lr"])


@torch.no_grad()
def _length(formula: Formula, optimizer: Optimizer, group: dict[str, Any], weight: Tensor) -> Rate:
    state = optimizer.state.get(weight, {})
    if not state and formula is not sgd:
        return cast("float | Tensor", group["lr"])
    return pending_length(formula, group, state, weight) if is_sharded(weight) else formula(group, state, weight)
