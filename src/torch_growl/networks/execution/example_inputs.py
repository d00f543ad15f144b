"""Example inputs of a network: the three ways to give them, and batches and random inputs made from them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from torch_growl.errors import InvalidTypeError, InvalidValueError

__all__ = ["batch_of", "batch_size", "call", "random_like", "split_inputs", "wide"]

Inputs = tuple[tuple[Any, ...], dict[str, Any]]


def split_inputs(example_inputs: Any) -> Inputs:
    """Return example inputs as positional and named inputs.

    Args:
        example_inputs: a tensor, a tuple or list of positional inputs, or a dict of inputs by name.

    Raises:
        InvalidTypeError: they have another type.
        InvalidValueError: they hold no tensor.
    """
    if isinstance(example_inputs, Tensor):
        return (example_inputs,), {}
    if isinstance(example_inputs, Mapping):
        found: Inputs = (), dict(example_inputs)
    elif isinstance(example_inputs, tuple | list):
        found = tuple(example_inputs), {}
    else:
        raise InvalidTypeError(
            "example_inputs must be a tensor, a tuple of positional inputs or a dict of named ones, got "
            f"{type(example_inputs).__name__}"
        )
    if not any(isinstance(leaf, Tensor) for leaf in pytree.tree_leaves(found)):
        raise InvalidValueError("example_inputs must hold at least one tensor")
    return found


def call(model: nn.Module, inputs: Inputs) -> Any:
    """Call the network and return its output."""
    args, kwargs = inputs
    return model(*args, **kwargs)


def _mapped(change: Callable[[Tensor], Tensor], inputs: Inputs) -> Inputs:
    mapped: Inputs = pytree.tree_map_only(Tensor, change, inputs)
    return mapped


def wide(inputs: Inputs) -> Inputs:
    """Return the inputs with all floating-point tensors in float64."""
    return _mapped(lambda value: value.double() if value.is_floating_point() else value, inputs)


def random_like(inputs: Inputs, generator: torch.Generator) -> Inputs:
    """Draw inputs of the same shapes and types.

    Floating-point tensors are normal with the example's mean and standard deviation; all others are copied.

    Args:
        inputs: the example; not modified.
        generator: a CPU generator.
    """

    def fresh(x: Tensor) -> Tensor:
        if not x.is_floating_point() or not x.numel():
            return x.clone()
        noise = torch.randn(x.shape, generator=generator)
        wide = x.detach().float()
        spread = float(wide.std(correction=0)) or float(wide.abs().max()) or 1.0
        noise = (noise * spread + float(wide.mean())).to(x)
        return torch.empty_like(x).copy_(noise)  # keeps the memory format

    return _mapped(fresh, inputs)


def batch_size(inputs: Inputs) -> int:
    """Return the size of dimension 0 of the first input tensor; 0 where that tensor is a scalar."""
    first = next(leaf for leaf in pytree.tree_leaves(inputs) if isinstance(leaf, Tensor))
    return len(first) if first.ndim else 0


def batch_of(inputs: Inputs, size: int) -> Inputs:
    """Return inputs with ``size`` examples, repeating the given ones in order.

    Args:
        inputs: the example; its batch dimension is dimension 0 of its first tensor, and of every other tensor that has
            the same size there.
        size: the number of examples.

    Raises:
        InvalidValueError: the example has no batch dimension, or no example in it.
    """
    count = batch_size(inputs)
    if not count:
        raise InvalidValueError("example_inputs need a batch dimension with at least one example")
    index = torch.arange(size) % count
    return _mapped(lambda x: x[index.to(x.device)] if x.ndim and len(x) == count else x, inputs)
