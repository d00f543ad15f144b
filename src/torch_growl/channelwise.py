"""Operations that act on each channel by itself, and where its numbers are afterwards.

Looked up by exact type and by the functions themselves; what is not here is not understood, and stops a cut.
"""

from __future__ import annotations

import math
import operator
from typing import Any

import torch
import torch.nn.functional as F
from torch import fx, nn

__all__ = ["NORMS", "after", "argument"]

# Normalisations with statistics and parameters of their own for every channel of dimension 1.
NORMS: set[type[nn.Module]] = {nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm}

# Pooling: the number of last dimensions it mixes.
_POOLING: dict[Any, int] = {
    getattr(space, f"{kind}{pool}{d}d"): d
    for space, kinds, pool in (
        (nn, ("Max", "Avg", "AdaptiveMax", "AdaptiveAvg"), "Pool"),
        (F, ("max_", "avg_", "adaptive_max_", "adaptive_avg_"), "pool"),
        (torch, ("max_", "avg_", "adaptive_avg_"), "pool"),
    )
    for kind in kinds
    for d in (1, 2, 3)
    if hasattr(space, f"{kind}{pool}{d}d")
}

# One number in, one number out.
_MODULES: set[type[nn.Module]] = {
    nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.SELU, nn.CELU, nn.GELU, nn.SiLU, nn.Mish, nn.Tanh, nn.Sigmoid,
    nn.Hardswish, nn.Hardsigmoid, nn.Hardtanh, nn.LogSigmoid, nn.Softplus, nn.Softsign, nn.Tanhshrink, nn.Hardshrink,
    nn.Softshrink, nn.Threshold, nn.RReLU, nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d,
    nn.AlphaDropout, nn.FeatureAlphaDropout,
}  # fmt: skip
_NAMES = (
    "relu", "relu6", "leaky_relu", "elu", "selu", "celu", "gelu", "silu", "mish", "tanh", "sigmoid", "hardswish",
    "hardsigmoid", "hardtanh", "logsigmoid", "softplus", "softsign", "tanhshrink", "hardshrink", "softshrink",
    "threshold", "dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout", "feature_alpha_dropout",
    "square", "sqrt", "abs", "neg", "exp", "clamp", "clone", "erf", "sin", "cos",
)  # fmt: skip
_FUNCTIONS: set[Any] = {
    getattr(space, name + end)
    for space in (F, torch)
    for name in _NAMES
    for end in ("", "_")
    if hasattr(space, name + end)
} | {operator.neg, operator.abs}
_METHODS = {name + end for name in _NAMES for end in ("", "_")} | {"contiguous", "float", "detach"}

# With a number as the other operand (two tensors never get here).
_ARITHMETIC: set[Any] = {
    operator.add, operator.sub, operator.mul, operator.truediv, operator.pow, operator.iadd, operator.isub,
    operator.imul, operator.itruediv, torch.add, torch.sub, torch.mul, torch.div, torch.pow,
    "add", "sub", "mul", "div", "pow", "add_", "sub_", "mul_", "div_",
}  # fmt: skip
_REDUCTIONS: set[Any] = {torch.mean, torch.sum, torch.amax, torch.amin, "mean", "sum", "amax", "amin"}

Place = tuple[int, int]


def after(
    node: fx.Node, module: nn.Module | None, shape: torch.Size, result: torch.Size, axis: int, block: int
) -> Place | None:
    """Where channels are after an operation; None when it is not understood or mixes them.

    Args:
        node: the operation in the traced graph; its only tensor is the one whose channels are followed.
        module: the module it calls, if it calls one.
        shape: of that tensor.
        result: the shape of what it returns.
        axis: the dimension that channels are in.
        block: how many consecutive entries there belong to one channel.

    Returns:
        The axis and block afterwards.
    """
    if module is not None:
        known = type(module) in _MODULES or (type(module) is nn.PReLU and module.num_parameters == 1)
    elif node.op == "call_function":
        known = node.target in _FUNCTIONS or node.target in _ARITHMETIC
    else:
        known = node.target in _METHODS or node.target in _ARITHMETIC
    if known:
        return (axis, block) if shape == result else None
    pooled = _POOLING.get(type(module) if module is not None else node.target)
    if pooled is not None:
        return (axis, block) if axis < len(shape) - pooled else None
    if module is None and node.target in _REDUCTIONS:
        return _reduced(node, shape, axis, block)
    return _flattened(node, module, shape, result, axis, block)


def _reduced(node: fx.Node, shape: torch.Size, axis: int, block: int) -> Place | None:
    dims = argument(node, 1, "dim", None)
    dims = (dims,) if isinstance(dims, int) else dims
    if not isinstance(dims, tuple | list) or not dims or not all(isinstance(dim, int) for dim in dims):
        return None
    gone = {dim % len(shape) for dim in dims}
    if axis in gone:
        return None
    return axis if argument(node, 2, "keepdim", False) else axis - sum(dim < axis for dim in gone), block


def _flattened(
    node: fx.Node, module: nn.Module | None, shape: torch.Size, result: torch.Size, axis: int, block: int
) -> Place | None:
    if type(module) is nn.Flatten:
        start, end = module.start_dim, module.end_dim
    elif module is None and node.target in (torch.flatten, "flatten"):
        start, end = argument(node, 1, "start_dim", 0), argument(node, 2, "end_dim", -1)
    elif module is None and node.target in ("view", "reshape", torch.reshape):
        sizes: Any = node.args[1:]
        sizes = sizes[0] if len(sizes) == 1 and isinstance(sizes[0], tuple | list) else sizes
        if axis != 1 or result != (shape[0], math.prod(shape[1:])) or len(sizes) != 2 or sizes[1] != -1:
            return None
        start, end = 1, -1
    else:
        return None
    if not isinstance(start, int) or not isinstance(end, int):
        return None
    start, end = start % len(shape), end % len(shape)
    if start <= axis <= end:
        return (start, block * math.prod(shape[axis + 1 : end + 1])) if start == axis else None
    return (axis, block) if axis < start else (axis - (end - start), block)


def argument(node: fx.Node, place: int, name: str, default: Any) -> Any:
    """An operation's argument, given by place or by name."""
    return node.args[place] if len(node.args) > place else node.kwargs.get(name, default)
