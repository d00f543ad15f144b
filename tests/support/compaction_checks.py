"""Checks of a compact network against its dense one."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from torch_growl.networks.compaction.structure import structure_of
from torch_growl.networks.execution.outputs import HALF_TOLERANCE


def assert_same_outputs(dense: nn.Module, small: nn.Module, *inputs: Tensor) -> None:
    dense, small = copy.deepcopy(dense).eval(), copy.deepcopy(small).eval()
    with torch.no_grad():
        expected, found = pytree.tree_leaves(dense(*inputs)), pytree.tree_leaves(small(*inputs))
    assert len(expected) == len(found)
    for a, b in zip(expected, found, strict=True):
        tolerance = HALF_TOLERANCE.get(a.dtype, 1e-5)
        assert a.dtype == b.dtype
        assert (a - b).abs().max() <= tolerance * a.abs().max()


def snapshot(model: nn.Module) -> tuple[Any, ...]:
    state = {
        name: (value.clone().contiguous().view(-1).view(torch.uint8).tolist(), value.stride())
        for name, value in model.state_dict().items()
    }
    flags = [(n, m.training, type(m)) for n, m in model.named_modules()]
    return state, flags, [(n, p.requires_grad, id(p)) for n, p in model.named_parameters()]


def by_name(small: nn.Module) -> dict[str, Any]:
    return {layer.name: layer for layer in structure_of(small).layers}
