"""States of a training with whole tensors, as one process has them: gathered from all processes, and divided again.

A checkpoint of whole tensors does not depend on the number of processes, nor on how weights are spread over them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils import _pytree as pytree

from torch_growl.networks.sharding.shards import gathered, is_sharded, write_part_
from torch_growl.networks.sharding.wrapped_types import reshard_, sharded_modules

__all__ = ["load_whole_", "load_whole_optimizer_", "whole_state"]


def whole_state(state: Any, *, kept: bool = True) -> Any:
    """Copy a state with whole tensors in place of DTensors, on the CPU; all processes must call this.

    Tensors are gathered one after another, so that a process needs memory for one of them at a time unless it keeps
    the copy.

    Args:
        state: a network, whose ``state_dict`` is taken, or any nest of dicts and lists.
        kept: False: this process takes part and gets empty tensors.
    """
    if isinstance(state, nn.Module):
        reshard_(sharded_modules(state))
        state = state.state_dict()
    if not any(map(is_sharded, pytree.tree_leaves(state))):
        return state

    def whole(tensor: Tensor) -> Tensor:
        if not is_sharded(tensor):
            return tensor
        found = gathered(tensor)
        return found.cpu() if kept else found.new_empty(0)

    found = pytree.tree_map_only(Tensor, whole, state)
    if hasattr(state, "_metadata"):  # the versions of modules, in the state_dict of a network
        found._metadata = state._metadata
    return found


@torch.no_grad()
def load_whole_(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Load whole tensors into a network that is spread over processes; nothing is sent.

    Args:
        model: the network; each process keeps its parts.
        state: the ``state_dict`` of the network with whole weights.
    """
    reshard_(sharded_modules(model))
    for name, tensor in model.state_dict().items():
        _fill_(tensor, state[name])


@torch.no_grad()
def load_whole_optimizer_(optimizer: Optimizer, state: Mapping[str, Any]) -> None:
    """Load whole tensors into an optimizer whose parameters are spread over processes; nothing is sent.

    Args:
        optimizer: of the parameters; each process keeps its parts.
        state: the ``state_dict`` of the optimizer of whole parameters.
    """
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    divided = {
        number: {key: _like(value, parameters[number]) for key, value in of.items()}
        for number, of in state["state"].items()
    }
    optimizer.load_state_dict({**state, "state": divided})


def _like(value: Any, parameter: Tensor) -> Any:
    """A whole tensor of a parameter's shape, spread as the parameter is; anything else as it is."""
    if not isinstance(value, Tensor) or not is_sharded(parameter) or value.shape != parameter.shape:
        return value
    made = torch.empty_like(parameter, dtype=value.dtype)
    _fill_(made, value)
    return made


def _fill_(tensor: Tensor, value: Tensor) -> None:
    if is_sharded(tensor):
        write_part_(tensor, lambda whole: whole.copy_(value))
    else:
        tensor.copy_(value)
