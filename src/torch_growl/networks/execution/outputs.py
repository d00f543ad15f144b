"""The outputs of a network: running it reproducibly, the tensors in its result, and the comparison of two results.

Two output tensors agree when they have one shape and type, are finite in the same places, and every element differs by
at most ``tolerance · size``. An element's size is the largest magnitude among elements of typical size; elements beyond
that, such as masked logits of −1e4, are compared relative to themselves. Half-precision outputs are held to
:data:`HALF_TOLERANCE` where that is looser, because summing tied inputs first rounds in other places than the dense
layer does. Integer and boolean tensors must be equal.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from torch_growl.networks.execution.example_inputs import Inputs, call, copied

__all__ = [
    "HALF_TOLERANCE",
    "Difference",
    "difference",
    "exact_arithmetic",
    "outputs_of",
    "tensors",
    "tensors_in",
    "without_autocast",
]

HALF_TOLERANCE = {torch.float16: 1e-2, torch.bfloat16: 5e-2}
_SPREAD = 8.0  # the largest of normally distributed elements are about this many times their median
_SAMPLE = 1 << 16  # elements from which the typical size is found


@contextmanager
def exact_arithmetic(model: nn.Module) -> Iterator[None]:
    """Run the block without gradients and without TF32, and restore the random number generators afterwards."""
    devices = {p.device for p in model.parameters() if p.device.type == "cuda"}
    with ExitStack() as stack:
        stack.enter_context(torch.no_grad())
        stack.enter_context(torch.random.fork_rng(devices=[device.index for device in devices]))
        if devices:
            before = torch.get_float32_matmul_precision()
            stack.callback(torch.set_float32_matmul_precision, before)
            torch.set_float32_matmul_precision("highest")
            stack.enter_context(torch.backends.cudnn.flags(allow_tf32=False))
        yield


@contextmanager
def without_autocast() -> Iterator[None]:
    """Run the block in the types of the tensors, also where autocast is on."""
    with ExitStack() as stack:
        for device in ("cpu", "cuda", "mps", "xpu"):
            if torch.is_autocast_enabled(device):
                stack.enter_context(torch.autocast(device, enabled=False))
        yield


def outputs_of(model: nn.Module, inputs: Inputs) -> list[tuple[str, Tensor]]:
    """Run a network with seed 0 and exact arithmetic; return copies of its output tensors with their paths.

    Args:
        model: the network, in the mode it is to be run in.
        inputs: positional and named inputs; copies are passed, so they are not modified.
    """
    with exact_arithmetic(model):
        if any(value.device.type != "cpu" for value in (*model.parameters(), *model.buffers(), *tensors(inputs))):
            torch.manual_seed(0)
        else:  # the seeds of devices that are not in use take longer than a small network
            torch.default_generator.manual_seed(0)
        result = call(model, copied(inputs))
    return [(path, value.detach().clone()) for path, value in tensors_in(result)]


def tensors_in(value: Any, path: str = "output") -> Iterator[tuple[str, Tensor]]:
    """Yield every tensor in nested tuples, lists, mappings, pytree nodes and objects with fields, with its path.

    The order is the one in which ``torch.export`` flattens inputs and outputs.
    """
    if isinstance(value, Tensor):
        yield path, value
    elif isinstance(value, dict) or (hasattr(value, "keys") and hasattr(value, "__getitem__")):
        for key in value:
            yield from tensors_in(value[key], f"{path}[{key!r}]")
    elif isinstance(value, tuple | list):
        for number, item in enumerate(value):
            yield from tensors_in(item, f"{path}[{number}]")
    elif (children := _children(value)) is not None:
        for number, item in enumerate(children):
            yield from tensors_in(item, f"{path}[{number}]")
    elif hasattr(value, "__dict__"):
        for key, item in vars(value).items():
            yield from tensors_in(item, f"{path}.{key}")


def _children(value: Any) -> list[Any] | None:
    """Return the parts of a node that pytree knows; None where it knows none and takes the value for a leaf."""
    children = pytree.tree_leaves(value, is_leaf=lambda part: part is not value)
    return None if len(children) == 1 and children[0] is value else children


def tensors(value: Any) -> list[Tensor]:
    """Return all tensors in nested inputs or outputs, in the order of :func:`tensors_in`."""
    return [tensor for _, tensor in tensors_in(value)]


@dataclass(frozen=True)
class Difference:
    """The difference of one output tensor from the wanted one.

    Attributes:
        relative: ``max|Δ| / max|wanted|``; ``inf`` for another shape, type or place of NaN and infinities, or for
            integers that differ.
        excess: the largest difference of an element as a multiple of what is allowed for it.
        fault: the difference in words; empty when it is allowed.
        rounding: whether a fault can be rounding alone: no difference exceeds the tolerance of the tensor's largest
            element, or integers differ. A comparison in a wider type decides.
    """

    relative: float = 0.0
    excess: float = 0.0
    fault: str = ""
    rounding: bool = False


def difference(path: str, found: Tensor, wanted: Tensor, tolerance: float) -> Difference:
    """Compare an output tensor with the wanted one.

    Args:
        path: the tensor's name in messages.
        found: any tensor.
        wanted: the tensor to compare with.
        tolerance: largest difference allowed, as a part of an element's size; :data:`HALF_TOLERANCE` applies where it
            is looser.
    """
    if found.shape != wanted.shape or found.dtype != wanted.dtype:
        wanted_is, found_is = (f"{tuple(value.shape)} {value.dtype}" for value in (wanted, found))
        return _beyond(f"{path} must be {wanted_is}, got {found_is}")
    if not wanted.is_floating_point() and not wanted.is_complex():
        equal = torch.equal(found, wanted)
        return Difference() if equal else _beyond(f"{path} ({wanted.dtype}) differs", rounding=True)
    if torch.equal(found, wanted):
        return Difference()
    finite = torch.isfinite(wanted)
    if not torch.equal(torch.nan_to_num(found)[~finite], torch.nan_to_num(wanted)[~finite]) or not torch.equal(
        torch.isfinite(found), finite
    ):
        return _beyond(f"{path} is not finite in other places")
    if not bool(finite.any()):
        return Difference()
    tolerance = max(tolerance, HALF_TOLERANCE.get(wanted.dtype, 0.0))
    wide = torch.complex128 if wanted.is_complex() else torch.float64
    if not bool(finite.all()):
        found, wanted = found[finite], wanted[finite]
    sizes = wanted.flatten().to(wide)
    off = (found.flatten().to(wide) - sizes).abs()
    sizes = sizes.abs()
    scale, typical = float(sizes.max()), _typical(sizes)
    relative = float(off.max()) / scale if scale else float("inf") if bool(off.any()) else 0.0
    sizes = sizes.clamp(min=typical)
    parts = torch.where(off > 0, off / sizes, 0.0)
    worst = int(parts.argmax())
    excess = float(parts[worst]) / tolerance
    if excess <= 1:
        return Difference(relative, excess)
    size = "largest value" if sizes[worst] == scale else "size"
    text = f"{path} differs by {float(off[worst]):.3g}, more than {tolerance:g} × its {size} {float(sizes[worst]):.3g}"
    return Difference(relative, excess, text, relative <= tolerance)


def _typical(sizes: Tensor) -> float:
    """Return the largest magnitude that is typical: ``8 · min(median, 100 · first percentile)``, at most the largest.

    Zeros and repeated values (masks, constants) count once, so that they do not outnumber the others. The percentile
    finds the smaller elements where most are large; of n < 100 magnitudes it is n times the smallest.

    Args:
        sizes: finite magnitudes, at least one.
    """
    some = torch.unique(sizes[:: max(1, len(sizes) // _SAMPLE)])
    some = some[some > 0]
    if not len(some):
        return float(sizes.max())
    middle, low = float(some[(len(some) - 1) // 2]), float(some[len(some) // 100])
    return min(_SPREAD * min(middle, min(100, len(some)) * low), float(sizes.max()))


def _beyond(fault: str, *, rounding: bool = False) -> Difference:
    return Difference(float("inf"), float("inf"), fault, rounding)
