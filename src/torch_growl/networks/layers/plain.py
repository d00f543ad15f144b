"""The plain network inside wrappers and parametrizations, and plain copies of it."""

from __future__ import annotations

import copy
from typing import cast

from torch import nn
from torch.nn.utils import parametrize

from torch_growl.errors import CompactionError, first_line

__all__ = ["clean_name", "make_plain_", "plain_copy", "plain_model"]


def plain_model(model: nn.Module) -> nn.Module:
    """The network inside ``torch.compile``, DataParallel or DistributedDataParallel wrappers."""
    while True:
        inner = getattr(model, "_orig_mod", None)
        if inner is None and isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel):
            inner = model.module
        if not isinstance(inner, nn.Module):
            return model
        model = inner


def clean_name(name: str) -> str:
    """A module's dotted name without the parts that ``torch.compile`` adds."""
    return ".".join(part for part in name.split(".") if part != "_orig_mod")


def plain_copy(model: nn.Module) -> nn.Module:
    """A copy of the network inside any wrappers, with parametrized weights made plain parameters.

    Raises:
        CompactionError: it cannot be copied.
    """
    try:
        dense = copy.deepcopy(plain_model(model))
    except Exception as error:  # a user's module can hold anything
        raise CompactionError(f"the network cannot be copied: {first_line(error)}") from error
    for parent in list(dense.modules()):
        for key, child in parent.named_children():
            parent._modules[key] = plain_model(child) if hasattr(child, "_orig_mod") else child
    for module in list(dense.modules()):
        if parametrize.is_parametrized(module):
            for name in list(cast(nn.ModuleDict, module.parametrizations)):
                make_plain_(module, name)
    return dense


def make_plain_(module: nn.Module, name: str) -> None:
    """Replace a parametrized tensor by a plain parameter of its present value.

    torch makes a new class for every parametrized module, which ``deepcopy`` shares. Removing the property from
    this class would break all copies, or the original. So the module gets a class of its own first.

    Args:
        module: a parametrized module; modified.
        name: the tensor's, for instance ``"weight"``.
    """
    shared = type(module)
    own = {key: value for key, value in vars(shared).items() if key not in ("__dict__", "__weakref__")}
    module.__class__ = type(shared.__name__, shared.__bases__, own)
    parametrize.remove_parametrizations(module, name, leave_parametrized=True)
