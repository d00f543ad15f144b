"""A plain copy of a network that is spread over processes: whole weights, without the hooks of torch's engines."""

from __future__ import annotations

import copy
from typing import Any

from torch import nn

from torch_growl.networks.sharding.shards import gathered, is_sharded, local_of
from torch_growl.networks.sharding.wrapped_types import is_made, reshard_, sharded_modules

__all__ = ["is_spread", "whole_copy"]


def is_spread(model: nn.Module) -> bool:
    """Tell whether any weight of a network is a DTensor."""
    return any(map(is_sharded, model.parameters())) or bool(sharded_modules(model))


def whole_copy(model: nn.Module) -> nn.Module:
    """A copy with whole weights, the same on every process; all processes must call this.

    Weights are gathered one after another. torch's own ``deepcopy`` refuses a network that FSDP2 shards.

    Args:
        model: the network; not modified.
    """
    reshard_(sharded_modules(model))
    memo: dict[int, Any] = {}
    for tensor in (*model.parameters(), *model.buffers()):
        if is_sharded(tensor):
            whole = gathered(tensor)
            if whole.data_ptr() == local_of(tensor).data_ptr():
                whole = whole.clone()
            is_parameter = isinstance(tensor, nn.Parameter)
            memo[id(tensor)] = nn.Parameter(whole, requires_grad=tensor.requires_grad) if is_parameter else whole
    for module in reversed(list(model.modules())):  # children before the modules that hold them
        if is_made(type(module)):
            memo[id(module)] = _copied(module, memo)
    whole_model: nn.Module = copy.deepcopy(model, memo)
    for module in whole_model.modules():
        vars(module).update(_without_hooks(vars(module)))
    return whole_model


def _copied(module: nn.Module, memo: dict[int, Any]) -> nn.Module:
    """A copy of a module that ``fully_shard`` was called on, of the class that it had before."""
    cls: type[nn.Module] = type(module).__bases__[-1]
    new = cls.__new__(cls)
    own = {key: value for key, value in vars(module).items() if not key.startswith("__composable_api")}
    new.__dict__ = copy.deepcopy(_without_hooks(own), memo)
    return new


def _without_hooks(attributes: dict[str, Any]) -> dict[str, Any]:
    """The attributes of a module without the hooks that torch.distributed has registered."""
    return {
        key: type(value)((number, hook) for number, hook in value.items() if not _is_of_torch(hook))
        if key.endswith("_hooks") and isinstance(value, dict)
        else value
        for key, value in attributes.items()
    }


def _is_of_torch(hook: Any) -> bool:
    return str(getattr(getattr(hook, "hook", hook), "__module__", "")).startswith("torch.distributed.")
