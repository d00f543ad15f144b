"""Channels as numbers: the identity of the channel that each element of an activation belongs to.

An activation's *identities* are an integer tensor of its own shape. Elements with the same number are one channel and
can only be removed together; elements with number 0 must stay. Most dimensions (batch, space, time) have no channels of
their own: the tensor is expanded (stride 0) along them and takes little memory. Operations that only move data are
run on the identities themselves; :mod:`torch_growl.networks.wiring.operations` has the rules for all others.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor
from torch.utils import _pytree as pytree

__all__ = ["FIXED", "Classes", "all_fixed", "connected_classes", "constant_along", "couples", "expanded", "layout",
           "squashed", "tensor_leaves", "thin", "varying"]  # fmt: skip

FIXED = 0
Classes = NDArray[np.int64]


def tensor_leaves(value: Any) -> list[Tensor]:
    """The tensors in nested tuples, lists and dicts, in order."""
    return [leaf for leaf in pytree.tree_leaves(value) if isinstance(leaf, Tensor)]


def layout(x: Tensor) -> tuple[Any, ...]:
    """The shape, strides and offset of a tensor in its storage, without the strides of dimensions of size 1."""
    strides = tuple(stride for size, stride in zip(x.shape, x.stride(), strict=True) if size != 1)
    return tuple(x.shape), strides, x.storage_offset()


def all_fixed(shape: Sequence[int]) -> Tensor:
    """The identities of a tensor of this shape whose elements all must stay, expanded along every dimension."""
    return torch.full((1,) * len(shape), FIXED).expand(tuple(shape))


def squashed(ids: Tensor) -> Tensor:
    """The same identities, expanded along every dimension in which they do not differ."""
    for dim in range(ids.ndim):
        if ids.shape[dim] > 1 and ids.stride(dim) != 0:
            first = ids.narrow(dim, 0, 1)
            if bool((ids == first).all()):
                ids = first.expand(ids.shape)
    return ids


def thin(ids: Tensor) -> Tensor:
    """The same identities with one entry along every dimension in which they are expanded."""
    for dim in range(ids.ndim):
        if ids.shape[dim] > 1 and ids.stride(dim) == 0:
            ids = ids.narrow(dim, 0, 1)
    return ids


def varying(ids: Tensor) -> tuple[int, ...]:
    """The dimensions along which identities differ; they must be squashed."""
    return tuple(dim for dim in range(ids.ndim) if ids.shape[dim] > 1 and ids.stride(dim) != 0)


def constant_along(ids: Tensor, dims: Sequence[int]) -> bool:
    """Tell whether squashed identities do not differ along these dimensions."""
    return not set(varying(ids)) & {dim % ids.ndim for dim in dims}


def expanded(ids: Tensor, dim: int, shape: Sequence[int]) -> Tensor:
    """A vector of identities, one for each index of dimension ``dim``, expanded to a tensor of this shape."""
    lead = [1] * len(shape)
    lead[dim] = -1
    return ids.reshape(lead).expand(tuple(shape))


def couples(a: Tensor, b: Tensor) -> Tensor:
    """All different pairs of identities at the same place: ``(n, 2)``; shapes must broadcast."""
    a, b = torch.broadcast_tensors(a, b)
    for dim in range(a.ndim):
        if a.shape[dim] > 1 and a.stride(dim) == 0 and b.stride(dim) == 0:
            a, b = a.narrow(dim, 0, 1), b.narrow(dim, 0, 1)
    if a.numel() == 0:
        return torch.empty((0, 2), dtype=torch.int64)
    pairs = torch.stack([a.reshape(-1), b.reshape(-1)], dim=1)
    span = int(pairs.max()) + 1
    keys = torch.unique(pairs[:, 0] * span + pairs[:, 1])
    return torch.stack([keys // span, keys % span], dim=1)


def connected_classes(count: int, edges: Sequence[Tensor]) -> Classes:
    """The class of every identity, where coupled identities are of one class.

    Args:
        count: identities are 0 … count − 1.
        edges: pairs of coupled identities, each ``(n, 2)``.

    Returns:
        ``(count,)``; the class of :data:`FIXED` is 0.
    """
    joined = torch.cat([torch.empty((0, 2), dtype=torch.int64), *edges]).numpy()
    graph = coo_array((np.ones(len(joined), dtype=np.int8), (joined[:, 0], joined[:, 1])), shape=(count, count))
    _, labels = connected_components(graph, directed=False)
    found: Classes = labels.astype(np.int64)
    if found[0] != 0:  # scipy numbers classes by first appearance, so 0 comes first today
        found = np.where(found == found[0], 0, np.where(found == 0, found[0], found))
    return found
