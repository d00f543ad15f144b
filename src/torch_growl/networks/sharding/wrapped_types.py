"""The modules that torch's data-parallel engines change: FSDP2's classes, and FSDP1, which is refused.

``fully_shard`` gives a module a class of its own, made of ``FSDPModule`` and the class that it had. While a block runs,
and after a run without gradients, its parameters are whole ones that FSDP2 gathered; the shards are put back first.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

from torch import nn
from torch.nn.utils import parametrize

__all__ = ["is_flat", "is_made", "layer_type", "reshard_", "sharded_modules"]


def _is_from(cls: type, name: str) -> bool:
    """Tell whether a class is one of torch.distributed, which need not be imported."""
    return any(base.__name__ == name and base.__module__.startswith("torch.distributed.") for base in cls.__mro__)


def is_made(cls: type) -> bool:
    """Tell whether a class is one that ``fully_shard`` made."""
    return len(cls.__bases__) == 2 and _is_from(cls.__bases__[0], "FSDPModule")


def layer_type(module: nn.Module) -> type[nn.Module]:
    """The class that a module had before it was parametrized and before ``fully_shard``."""
    cls: type = type(module)
    while is_made(cls) or (parametrize.is_parametrized(module) and cls.__name__.startswith("Parametrized")):
        cls = cls.__bases__[-1]
    return cls


def sharded_modules(model: nn.Module) -> list[nn.Module]:
    """The modules of a network that ``fully_shard`` was called on."""
    return [module for module in model.modules() if _is_from(type(module), "FSDPModule")]


def reshard_(modules: Iterable[nn.Module]) -> None:
    """Put the shards back that FSDP2 replaced by whole weights for a run; they are the parameters that are trained.

    Args:
        modules: those of :func:`sharded_modules`.
    """
    for module in modules:
        cast(Any, module).reshard()


def is_flat(module: nn.Module) -> bool:
    """Tell whether a module is wrapped in FSDP1, which keeps the weights of many layers in one flat parameter."""
    return _is_from(type(module), "FullyShardedDataParallel")
