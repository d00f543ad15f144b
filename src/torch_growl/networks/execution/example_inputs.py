"""Example inputs of a network: the ways to give them, and batches and random inputs made from them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from torch_growl.errors import InvalidTypeError, InvalidValueError

__all__ = [
    "batch_of",
    "batch_size",
    "call",
    "copied",
    "new_batch",
    "random_like",
    "split_examples",
    "split_inputs",
    "wide",
]

Inputs = tuple[tuple[Any, ...], dict[str, Any]]


def split_inputs(example_inputs: Any) -> Inputs:
    """Return example inputs as positional and named inputs.

    Args:
        example_inputs: a tensor, a tuple of positional inputs, or a dict of inputs by name.

    Raises:
        InvalidTypeError: they have another type; a list holds several examples, see :func:`split_examples`.
        InvalidValueError: they hold no tensor.
    """
    if isinstance(example_inputs, Tensor):
        return (example_inputs,), {}
    if isinstance(example_inputs, Mapping):
        found: Inputs = (), dict(example_inputs)
    elif isinstance(example_inputs, tuple):
        found = example_inputs, {}
    elif isinstance(example_inputs, list):
        raise InvalidTypeError(
            "example_inputs must be one example here, got a list of examples; give positional inputs as a tuple"
        )
    else:
        raise InvalidTypeError(
            "example_inputs must be a tensor, a tuple of positional inputs or a dict of named ones, got "
            f"{type(example_inputs).__name__}"
        )
    if not any(isinstance(leaf, Tensor) for leaf in pytree.tree_leaves(found)):
        raise InvalidValueError("example_inputs must hold at least one tensor")
    return found


def split_examples(example_inputs: Any) -> list[Inputs]:
    """Return one or more examples, each as positional and named inputs.

    Args:
        example_inputs: one example as for :func:`split_inputs`, or a list of examples.

    Raises:
        InvalidTypeError: an example has another type.
        InvalidValueError: the list is empty, or an example holds no tensor.
    """
    if not isinstance(example_inputs, list):
        return [split_inputs(example_inputs)]
    if not example_inputs:
        raise InvalidValueError("example_inputs must hold at least one example, got an empty list")
    return [split_inputs(example) for example in example_inputs]


def call(model: nn.Module, inputs: Inputs) -> Any:
    """Call the network and return its output."""
    args, kwargs = inputs
    return model(*args, **kwargs)


def _mapped(change: Callable[[Tensor], Tensor], inputs: Inputs) -> Inputs:
    mapped: Inputs = pytree.tree_map_only(Tensor, change, inputs)
    return mapped


def wide(inputs: Inputs, dtype: torch.dtype = torch.float64) -> Inputs:
    """Return the inputs with all floating-point tensors in a wider type."""
    return _mapped(lambda value: value.to(dtype) if value.is_floating_point() else value, inputs)


def copied(inputs: Inputs) -> Inputs:
    """Return the inputs with copies of all tensors, for networks that write into their inputs."""
    return _mapped(torch.clone, inputs)


def random_like(inputs: Inputs, generator: torch.Generator, *, integers: bool = False) -> Inputs:
    """Draw inputs of the same shapes and types.

    Floating-point tensors are normal with the example's mean and standard deviation; all others are copied.

    Args:
        inputs: the example; not modified.
        generator: a CPU generator.
        integers: whether to draw integer and boolean tensors too, uniformly between the example's smallest and largest
            value; some networks do not take any such value (offsets, lengths).
    """

    def fresh(x: Tensor) -> Tensor:
        if not x.numel() or x.is_complex() or not (integers or x.is_floating_point()):
            return x.clone()
        if not x.is_floating_point():
            low, high = int(x.min()), int(x.max())
            return torch.empty_like(x).copy_(torch.randint(low, min(high + 1, 2**63 - 1), x.shape, generator=generator))
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


def new_batch(inputs: Inputs, size: int) -> Inputs:
    """Return zeros for ``size`` examples in place of an empty batch; tensors without a batch dimension are copied."""
    return _mapped(lambda x: x.clone() if x.numel() or not x.ndim else x.new_zeros((size, *x.shape[1:])), inputs)
