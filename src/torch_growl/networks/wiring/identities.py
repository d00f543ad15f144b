"""Channels as numbers: which channel every element of an activation belongs to.

An activation's *identities* are an integer tensor of its own shape: elements with the same number are one channel and
can only go together; 0 is what must stay. As most dimensions (batch, space, time) have no channels of their own, it is
held expanded (stride 0) along them and costs next to nothing. Operations that only move data are run on the
identities themselves; for all others see :mod:`torch_growl.networks.wiring.operations`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor

__all__ = ["FIXED", "constant_along", "couples", "expanded", "partition", "squashed", "varying"]

FIXED = 0
Classes = NDArray[np.int64]


def squashed(ids: Tensor) -> Tensor:
    """The same identities, expanded along every dimension in which they do not differ."""
    for dim in range(ids.ndim):
        if ids.shape[dim] > 1 and ids.stride(dim) != 0:
            first = ids.narrow(dim, 0, 1)
            if bool((ids == first).all()):
                ids = first.expand(ids.shape)
    return ids


def varying(ids: Tensor) -> tuple[int, ...]:
    """The dimensions along which identities differ; they must be squashed."""
    return tuple(dim for dim in range(ids.ndim) if ids.shape[dim] > 1 and ids.stride(dim) != 0)


def constant_along(ids: Tensor, dims: Sequence[int]) -> bool:
    """Whether identities do not differ along these dimensions."""
    return not set(varying(ids)) & {dim % ids.ndim for dim in dims}


def expanded(ids: Tensor, dim: int, shape: Sequence[int]) -> Tensor:
    """A vector of identities as those of a tensor whose dimension ``dim`` they are."""
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


def partition(count: int, edges: Sequence[Tensor]) -> Classes:
    """The class of every identity when coupled ones are one: ``(count,)``, with class 0 that of :data:`FIXED`."""
    joined = torch.cat([torch.empty((0, 2), dtype=torch.int64), *edges]).numpy()
    graph = coo_array((np.ones(len(joined), dtype=np.int8), (joined[:, 0], joined[:, 1])), shape=(count, count))
    _, labels = connected_components(graph, directed=False)
    found: Classes = labels.astype(np.int64)
    if found[0] != 0:  # scipy numbers them by first appearance, so 0 comes first; held to it nevertheless
        found = np.where(found == found[0], 0, np.where(found == 0, found[0], found))
    return found
