"""Samples of what layers read and write while a network runs, for comparing two networks layer by layer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

__all__ = ["LayerSample", "sampled"]

_POSITIONS = 64  # places of a tensor (examples, pixels, tokens) whose channels are kept


class LayerSample(NamedTuple):
    """One call of a layer: its input and its output at the same few places, ``(places, channels)``."""

    input: Tensor
    output: Tensor


@contextmanager
def sampled(model: nn.Module, dims: Mapping[str, int]) -> Iterator[dict[str, list[LayerSample]]]:
    """Collect samples of all calls of some layers while the block runs.

    Args:
        model: the network; hooks are added and removed again.
        dims: the dimension of the channels (negative) of each layer, by dotted name.

    Yields:
        The samples of every layer that was called, in the order of its calls.
    """
    found: dict[str, list[LayerSample]] = {}
    entering: dict[str, list[Tensor | None]] = {}
    handles = []
    for name, dim in dims.items():

        def before(module: nn.Module, args: Any, kwargs: Any, name: str = name, dim: int = dim) -> None:
            leaves = args if args and isinstance(args[0], Tensor) else pytree.tree_leaves((args, kwargs))
            given = next((leaf for leaf in leaves if isinstance(leaf, Tensor)), None)
            plain = given is not None and not torch._C._functorch.is_functorch_wrapped_tensor(given)  # not of vmap
            entering.setdefault(name, []).append(_places(given, dim) if given is not None and plain else None)

        def after(module: nn.Module, args: Any, result: Any, name: str = name, dim: int = dim) -> None:
            before = entering[name].pop() if entering.get(name) else None
            if isinstance(result, Tensor) and before is not None:
                found.setdefault(name, []).append(LayerSample(before, _places(result, dim)))

        module = model.get_submodule(name)
        handles.append(module.register_forward_pre_hook(before, with_kwargs=True))
        handles.append(module.register_forward_hook(after))
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


def _places(x: Tensor, dim: int) -> Tensor:
    """Return all channels of a tensor at evenly spaced places: ``(places, channels)``, a copy."""
    moved = x.detach().movedim(dim, -1)
    others = moved.shape[:-1]
    count = others.numel()
    if not count:
        return moved.reshape(-1, moved.shape[-1]).clone() if moved.shape[-1] else moved.new_empty((0, 0))
    return moved[_index(others, x.device)].clone() if others else moved.reshape(1, -1).clone()


@lru_cache(maxsize=256)
def _index(sizes: torch.Size, device: torch.device) -> tuple[Tensor, ...]:
    """Return the index of evenly spaced places in dimensions of these sizes."""
    count = sizes.numel()
    flat = torch.linspace(0, count - 1, min(count, _POSITIONS), device=device, dtype=torch.float64).long()
    index: list[Tensor] = []
    for size in reversed(sizes):
        index.insert(0, flat % size)
        flat = flat.div(size, rounding_mode="floor")
    return tuple(index)
