"""The length of one step along a steady gradient, in closed form, for every optimizer of torch and some others.

The length of an optimizer whose steps follow the gradient's running mean, divided by a scale of the gradient, is the
learning rate over that scale. The scale is averaged over the layer, so that rows stay comparable. An optimizer is known
by the function that makes its step, so that a subclass which overrides ``step`` is not taken for its parent.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from functools import cache
from typing import Any, cast

import torch
from torch import Tensor
from torch.optim import Optimizer

from torch_growl.errors import InvalidValueError
from torch_growl.networks.sharding import ShardedStatistic

__all__ = ["Formula", "check_strength_of", "formula_of", "groups_of", "is_schedule_free", "sgd"]

Length = float | Tensor
Formula = Callable[[dict[str, Any], dict[str, Any], Tensor], Length]  # of a group, a weight's state, the weight

_LEAST = 1e-12
_LEAST_OF_MUON = 0.9  # strength

_REFUSED = {
    "LBFGS": "it evaluates the loss several times in one step and models a curvature that does not hold after the "
    "rows were shrunk; use SGD, Adam or Muon",
    "Rprop": "its steps depend on the gradient's sign only and grow until they undo the shrinking, so that no strength "
    "prunes; use SGD or Adam",
    "SparseAdam": "it takes sparse gradients only, and the weights of layers that have rows get dense ones; use Adam",
    "CPUOffloadOptimizer": "it steps on copies of the weights; use the optimizer that it holds",
}
_SCHEDULE_FREE = ("AdamWScheduleFree", "RAdamScheduleFree", "SGDScheduleFree")


def formula_of(optimizer: Optimizer) -> Formula | None:
    """Return the formula for an optimizer's step; None if its step has to be measured.

    Raises:
        InvalidValueError: the optimizer cannot be followed by a proximal step; the message says why and what to use.
    """
    name = type(optimizer).__name__
    for cls in type(optimizer).__mro__:
        if cls.__name__ in _REFUSED and cls.__module__.startswith(("torch.optim", "torchao.")):
            raise InvalidValueError(f"{name} cannot be combined with GrOWL: {_REFUSED[cls.__name__]}")
        if cls.__module__.startswith("torchao.optim") and cls.__name__ == "_AdamBase":
            return _adam
    if is_schedule_free(optimizer):
        if name not in _SCHEDULE_FREE:
            raise InvalidValueError(f"{name} cannot be combined with GrOWL; use one of {', '.join(_SCHEDULE_FREE)}")
        return _schedule_free
    return _formulas().get(inspect.unwrap(type(optimizer).step))


def is_schedule_free(optimizer: Optimizer) -> bool:
    """Tell whether an optimizer is one of the package schedulefree."""
    return type(optimizer).__module__.startswith("schedulefree.")


def groups_of(optimizer: Optimizer) -> dict[int, dict[str, Any]]:
    """The group of every weight that an optimizer trains, by the weight's ``id``."""
    return {id(weight): group for group in optimizer.param_groups for weight in group["params"]}


def _over(lr: Length, root: Tensor, group: dict[str, Any]) -> Length:
    """Divide, on the device without waiting for it if the optimizer is capturable."""
    return lr / root.clamp_min(_LEAST) if group.get("capturable") else lr / max(float(root), _LEAST)


def sgd(group: dict[str, Any], state: dict[str, Any], weight: Tensor) -> Length:
    """The sum of a steady run's steps for one gradient: lr · (1 − dampening) / (1 − momentum)."""
    momentum = float(group.get("momentum") or 0.0)
    lr = cast(Length, group["lr"])
    return lr * ((1 - float(group.get("dampening") or 0.0)) / (1 - momentum)) if momentum else lr


def _adam(group: dict[str, Any], state: dict[str, Any], weight: Tensor) -> Length:
    # v̂: the running mean of the squared gradient (Kingma, Ba, 2015)
    squares = state["max_exp_avg_sq" if group.get("amsgrad") else "exp_avg_sq"]
    if type(squares) not in (Tensor, ShardedStatistic):  # torchao's states of 8 and 4 bits
        squares = squares.dequantize()
    mean = squares.mean(dtype=torch.float32)
    mean = mean / (1 - group["betas"][1] ** state["step"].to(mean.device))
    return _over(group["lr"], mean.sqrt() + float(group["eps"]), group)


def _norm(value: Any) -> Tensor:
    """The ℓ2 norm of a tensor, in float32 or float64."""
    if isinstance(value, ShardedStatistic):
        return value.norm()
    wide = torch.float64 if value.dtype == torch.float64 else torch.float32
    return cast(Tensor, torch.linalg.vector_norm(value, dtype=wide))


def _known_length(beta: float, step: Any) -> tuple[float, Any]:
    """The length of RAdam's running mean at last and after a number of steps (Liu et al., 2020, algorithm 2)."""
    most = 2 / (1 - beta) - 1
    return most, most - 2 * step * beta**step / (1 - beta**step)


def _radam(group: dict[str, Any], state: dict[str, Any], weight: Tensor) -> Length:
    most, length = _known_length(group["betas"][1], state["step"])
    known = length.clamp_min(5)
    part = ((known - 4) * (known - 2) * most / ((most - 4) * (most - 2) * known)).sqrt()
    adaptive = _adam(group, state, weight)
    if group.get("capturable"):
        part = part.to(cast(Tensor, adaptive).device)
        return torch.where(length.to(part.device) > 5, part * adaptive, group["lr"])
    return adaptive * float(part) if float(length) > 5 else cast(Length, group["lr"])


def _rmsprop(group: dict[str, Any], state: dict[str, Any], weight: Tensor) -> Length:
    mean = cast(Tensor, state["square_avg"].mean(dtype=torch.float32))
    if group["centered"]:
        mean = (mean - _norm(state["grad_avg"]).square() / weight.numel()).clamp_min(0.0)
    return _over(sgd(group, state, weight), mean.sqrt() + float(group["eps"]), group)


def _adagrad(group: dict[str, Any], state: dict[str, Any], weight: Tensor) -> Length:
    lr = group["lr"] / (1 + (float(state["step"]) - 1) * group["lr_decay"])
    return _over(lr, state["sum"].mean(dtype=torch.float32).sqrt() + group["eps"], group)


def _adadelta(group: dict[str, Any], state: dict[str, Any], weight: Tensor) -> Length:
    moved = (state["acc_delta"].mean(dtype=torch.float32) + group["eps"]).sqrt()
    root = (state["square_avg"].mean(dtype=torch.float32) + group["eps"]).sqrt()
    return _over(group["lr"] * (moved if group.get("capturable") else float(moved)), root, group)


def _adamax(group: dict[str, Any], state: dict[str, Any], weight: Tensor) -> Length:
    largest = _norm(state["exp_inf"])
    return _over(group["lr"], largest / math.sqrt(weight.numel()), group)


def _asgd(group: dict[str, Any], state: dict[str, Any], weight: Tensor) -> Length:
    return cast(Tensor, state["eta"]) if group.get("capturable") else float(state["eta"])


def _adafactor(group: dict[str, Any], state: dict[str, Any], weight: Tensor) -> Length:
    size = float(_norm(weight.detach())) / math.sqrt(weight.numel())
    relative = min(float(group["lr"]), float(state["step"]) ** -0.5)
    squares = state["row_var"] if "row_var" in state else state["variance"]
    mean = float(squares.mean(dtype=torch.float32).sqrt())
    return float(max(group["eps"][1], size) * relative / max(mean, _LEAST))


def _muon(group: dict[str, Any], state: dict[str, Any], weight: Tensor) -> Length:
    # The step is the running mean of the gradient with its singular values made about 1, so its norm is the root of
    # their number; the learning rate is adjusted to the shape as torch does.
    rows, columns = weight.shape
    adjusted = {"match_rms_adamw": 0.2 * math.sqrt(max(rows, columns))}.get(
        group["adjust_lr_fn"] or "original", math.sqrt(max(1.0, rows / columns))
    )
    norm = _norm(state["momentum_buffer"])
    return cast(Length, group["lr"] * adjusted * math.sqrt(min(rows, columns)) / max(float(norm), _LEAST))


def _schedule_free(group: dict[str, Any], state: dict[str, Any], weight: Tensor) -> Length:
    # of the base sequence z
    lr = cast(Length, group["scheduled_lr"])
    if "exp_avg_sq" not in state:
        return lr
    beta, steps = group["betas"][1], group["k"]
    if "silent_sgd_phase" in group and _known_length(beta, steps)[1] <= 4:
        return lr  # RAdam's, which does not divide by the gradient's scale in the first steps
    mean = state["exp_avg_sq"].mean(dtype=torch.float32) / (1 - beta**steps)
    return _over(lr, mean.sqrt() + float(group["eps"]), group)


def check_strength_of(optimizer: Optimizer, strength: float) -> None:
    """Refuse an optimizer that keeps more than twice the rows of SGD at a strength.

    Measured with ``python -m tests.support.optimizer_task``.

    Raises:
        InvalidValueError: the optimizer is Muon and the strength is below 0.9, or it is a schedule-free Adam with
            ``r=0``.
    """
    if formula_of(optimizer) is _muon and 0 < strength < _LEAST_OF_MUON:
        raise InvalidValueError(
            f"Muon keeps up to four times the rows of SGD at strengths below {_LEAST_OF_MUON:g}, got {strength:g}; "
            "give 1 or more, or a target"
        )
    groups = optimizer.param_groups
    if is_schedule_free(optimizer) and strength and any("betas" in each and not each.get("r", 1) for each in groups):
        raise InvalidValueError(
            f"{type(optimizer).__name__} with r=0 keeps more than twice the rows of SGD, since its average forgets "
            "early weights slowly; give it r=2, or GrOWL a target"
        )


@cache
def _formulas() -> dict[Callable[..., Any], Formula]:
    """The formulas by the function that makes the step."""
    known: dict[str, Formula] = {
        "SGD": sgd,
        "Adam": _adam,
        "AdamW": _adam,
        "NAdam": _adam,
        "RAdam": _radam,
        "RMSprop": _rmsprop,
        "Adagrad": _adagrad,
        "Adadelta": _adadelta,
        "Adamax": _adamax,
        "ASGD": _asgd,
        "Adafactor": _adafactor,
        "Muon": _muon,
    }
    optimizers = {name: getattr(torch.optim, name, None) for name in known}  # Muon: torch ≥ 2.9
    return {inspect.unwrap(cls.step): known[name] for name, cls in optimizers.items() if cls is not None}
