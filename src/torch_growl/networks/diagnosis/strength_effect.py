"""The effect of a strength over a training, before it: the exponent R of docs/method.md for every layer.

If the loss did not change, the difference of a row's norm from the mean of its layer would grow by e^R, R the sum of
step · strength · b_l / ‖W‖² over the steps: below 1, the penalty has no effect. The same law says when rows would reach
zero. The loss resists, so that fewer rows go than it says; never more.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn
from torch.optim import SGD, Optimizer

from torch_growl.arguments import check_count, check_number
from torch_growl.errors import InvalidValueError
from torch_growl.mathematics.owl import LambdaSequence
from torch_growl.networks.layers import Side, row_norms
from torch_growl.networks.optimizers import StepLengths
from torch_growl.networks.penalty import DEFAULT_SEQUENCE, choose_penalised

__all__ = ["StrengthEffect", "strength_effects"]

Floats = NDArray[np.float64]

_PACE, _LONGEST = 0.02, 60.0  # of R: a step that is small enough, and where all is over
_FIRST, _ALL = 1.0, 0.5  # R from which rows part; the part of the training in which all of them should not be gone


@dataclass(frozen=True)
class StrengthEffect:
    """The effect of a strength on one layer.

    Attributes:
        layer: its name.
        exponent: R over the whole training, with the length of a step as it is now.
        rows: rows that are not zero.
        gone: rows that would reach zero if the loss did not resist.
        floor_step: the step by which only ``min_rows`` would be left, if the loss did not resist; None: none in this
            training.
    """

    layer: str
    exponent: float
    rows: int
    gone: int
    floor_step: int | None

    def verdict(self, steps: int) -> str:
        """Say what it means, for a training of so many steps."""
        if self.exponent < _FIRST:
            return "no effect: R is below 1"
        if self.floor_step is not None and self.floor_step < _ALL * steps:
            return f"only min_rows left by step {self.floor_step:,} unless the loss resists"
        return f"at most {self.gone} of {self.rows} rows go"


def strength_effects(
    model: nn.Module,
    strength: float,
    optimizer: Optimizer | float,
    steps: int,
    *,
    layers: Iterable[str] | None,
    side: Side,
    sequence: LambdaSequence | None,
    min_rows: int,
) -> tuple[StrengthEffect, ...]:
    """Return the effect of a strength on every penalised layer, in the scale-free form with its default balance.

    Args:
        model: the network; not modified.
        strength: as for :class:`torch_growl.GrOWL`.
        optimizer: the optimizer that will train it, or the learning rate of SGD without momentum. One that divides by
            the size of the gradient (Adam) needs gradients: call ``backward()`` on a loss once before.
        steps: the optimizer steps of the training.
        layers, side, sequence, min_rows: as for :class:`torch_growl.GrOWL`.

    Raises:
        InvalidTypeError: an argument has another type.
        InvalidValueError: an argument is out of range, or the length of the optimizer's steps is not known.
    """
    check_number("strength", strength, least=0)
    check_count("steps", steps, unit="optimizer steps of the training")
    if not isinstance(optimizer, Optimizer):
        check_number("optimizer", optimizer, above=0, why="an optimizer, or the learning rate of SGD")
    penalised, _ = choose_penalised(
        model, layers, {}, DEFAULT_SEQUENCE if sequence is None else sequence, side=side, balance="weights"
    )
    weights = {layer.info.name: layer.weight for layer in penalised}
    lengths: dict[str, Any] = dict.fromkeys(weights, optimizer)
    if isinstance(optimizer, Optimizer):
        lengths = _lengths(optimizer, weights)
    effects = []
    for layer in penalised:
        norms = row_norms(layer.info.module, side).double().cpu().numpy()
        square = float(np.square(norms).sum())
        rate = float(lengths[layer.info.name]) * strength * layer.share / square if square else 0.0
        there = norms > 0
        gone, floor = _without_loss(norms, layer.lam.numpy(), rate * steps, min_rows) if rate else (0, math.inf)
        effects.append(
            StrengthEffect(
                layer.info.name,
                rate * steps,
                int(there.sum()),
                gone,
                math.ceil(floor / rate) if math.isfinite(floor) else None,
            )
        )
    return tuple(effects)


def _without_loss(norms: Floats, lam: Floats, exponent: float, min_rows: int) -> tuple[int, float]:
    """Take the penalty's steps on the norms of a layer's rows alone, in units of their root mean square.

    Args:
        norms: ``(n_rows,)``, finite, ≥ 0, not all 0.
        lam: λ, ``(n_rows,)``, non-increasing.
        exponent: R at the end.
        min_rows: the rows that stay.

    Returns:
        The rows that reach zero, and R when only ``min_rows`` are left; infinite if that does not happen.
    """
    u = norms / np.sqrt(np.square(norms).mean())
    there, done = int((u > 0).sum()), 0.0
    while done < min(exponent, _LONGEST):
        step = min(_PACE, exponent - done)
        order = np.argsort(-u, kind="stable")
        left = u.copy()
        left[order] = np.maximum(u[order] - step * lam, 0)
        done += step
        if int((left > 0).sum()) <= min_rows:
            return max(there - min_rows, 0), done
        u = left / np.sqrt(np.square(left).mean())
    return there - int((u > 0).sum()), math.inf


def _lengths(optimizer: Optimizer, weights: dict[str, Any]) -> dict[str, Any]:
    """The length of a step for every weight: after a step of a copy, if the optimizer has made none."""
    own = StepLengths(optimizer)
    if own.measured:
        raise InvalidValueError(
            f"the length of the steps of {type(optimizer).__name__} is measured in training and not known before; "
            "give the learning rate of SGD that it stands for in place of the optimizer"
        )
    missing = sorted(set(weights) - own.trained(weights))
    if missing:
        raise InvalidValueError(f"the optimizer does not train the weight of {missing[0]!r}")
    if not optimizer.state and not isinstance(optimizer, SGD):
        without = [name for name, weight in weights.items() if weight.grad is None]
        if without:
            raise InvalidValueError(
                f"the steps of {type(optimizer).__name__} depend on the size of the gradient, and {without[0]!r} has "
                "none yet: call backward() on a loss once before"
            )
        trained = [weight for group in optimizer.param_groups for weight in group["params"]]
        twins: list[Any] = copy.deepcopy([optimizer, weights, trained])
        optimizer, weights, copies = twins
        for weight, twin in zip(trained, copies, strict=True):  # a copy of a parameter has no gradient
            twin.grad = None if weight.grad is None else weight.grad.clone()
        optimizer.step()
        own = StepLengths(optimizer)
    return own.rates(weights, scale_free=True, period=1)
