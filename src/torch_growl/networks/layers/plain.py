"""The plain network inside wrappers and parametrizations, and plain copies of it."""

from __future__ import annotations

import copy
import warnings
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Mapping
from types import FunctionType, ModuleType
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize, prune, remove_spectral_norm, remove_weight_norm
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm
from torch.optim.swa_utils import AveragedModel

from torch_growl.errors import CompactionError, GrowlWarning, first_line, users_stacklevel
from torch_growl.networks.layers.pretrained import plain_save_pretrained_
from torch_growl.networks.layers.ready_networks import outside_inference_mode
from torch_growl.networks.sharding import is_spread, whole_copy

__all__ = [
    "clean_name",
    "make_plain_",
    "own_memory_",
    "permanent_hooks",
    "plain_copy",
    "plain_model",
    "remove_training_hooks_",
    "sharing_copy",
    "training_hook",
]


_Hook = TypeVar("_Hook", bound=Callable[..., Any])
_TRAINING = "_torch_growl_training"  # set on hooks that are there for a training only
_WRAPPERS = (nn.DataParallel, nn.parallel.DistributedDataParallel, AveragedModel)


def plain_model(model: nn.Module) -> nn.Module:
    """The network inside wrappers: ``torch.compile``, DataParallel, DistributedDataParallel, AveragedModel."""
    while True:
        inner = getattr(model, "_orig_mod", None)
        if inner is None and isinstance(model, _WRAPPERS):
            inner = model.module
        if not isinstance(inner, nn.Module):
            return model
        model = inner


def clean_name(name: str) -> str:
    """A module's dotted name without the parts that ``torch.compile`` adds."""
    return ".".join(part for part in name.split(".") if part != "_orig_mod")


def sharing_copy(model: nn.Module) -> nn.Module:
    """A copy whose parameters are new objects with the memory of the given ones; buffers have memory of their own.

    Before its parameters are written into, they need :func:`own_memory_`. Parameters of
    other types than ``nn.Parameter`` are copied, and those of embeddings with ``max_norm``, whose call writes.
    """
    return copy.deepcopy(model, _shared(model))


def _shared(model: nn.Module) -> dict[int, Any]:
    """Return new parameters with the memory of the given ones, for ``deepcopy``."""
    shared = {id(p): p for p in model.parameters() if type(p) is nn.Parameter and not p.is_inference()}
    for module in model.modules():
        if getattr(module, "max_norm", None) is not None:
            for p in module.parameters():
                shared.pop(id(p), None)
    return _empty(model) | {key: nn.Parameter(p.detach(), requires_grad=p.requires_grad) for key, p in shared.items()}


def _empty(model: nn.Module) -> dict[int, Any]:
    """Return copies of the empty dicts and sets (of hooks) in every module: ``deepcopy`` itself takes long for them."""
    return {
        id(value): type(value)()
        for module in model.modules()
        for value in vars(module).values()
        if type(value) in (OrderedDict, dict, set) and not value
    }


def own_memory_(*modules: nn.Module) -> None:
    """Give the parameters of modules memory of their own, before they are written into."""
    for module in modules:
        for parameter in module.parameters(recurse=False):
            parameter.data = parameter.data.clone()


def training_hook(hook: _Hook) -> _Hook:
    """Mark a hook before or after a forward as one for a training only, so that a plain copy is made without it."""
    setattr(hook, _TRAINING, True)
    return hook


def remove_training_hooks_(model: nn.Module) -> None:
    """Take the hooks of :func:`training_hook` off a network and all its parts."""
    for module in model.modules():
        for key in [key for key, hook in module._forward_hooks.items() if hasattr(hook, _TRAINING)]:
            for hooks in (
                module._forward_hooks,
                module._forward_hooks_with_kwargs,
                module._forward_hooks_always_called,
            ):
                hooks.pop(key, None)
        for key in [key for key, hook in module._forward_pre_hooks.items() if hasattr(hook, _TRAINING)]:
            module._forward_pre_hooks.pop(key)
            module._forward_pre_hooks_with_kwargs.pop(key, None)


def plain_copy(model: nn.Module, *, sharing: bool = False) -> nn.Module:
    """A copy of the network inside any wrappers, with parametrized weights made plain parameters.

    Prune masks, old weight norms and old spectral norms, which are hooks, are made permanent in the copy. Hooks of
    :func:`training_hook` are left out of it. Activations that a module keeps in an attribute are detached in the copy.
    Of a network that is spread over processes (FSDP2, tensor parallel), every process gets a whole copy; all of them
    must call this.

    Args:
        model: the network; not modified.
        sharing: whether plain parameters share the memory of the given ones, see :func:`sharing_copy`.

    Raises:
        CompactionError: it cannot be copied; the message names the attribute.

    Warns:
        GrowlWarning: a mask or norm was made permanent in the copy.
    """
    with outside_inference_mode():
        plain = plain_model(model)
        dense = whole_copy(plain) if is_spread(plain) else _copied(plain, _shared(plain) if sharing else _empty(plain))
        remove_training_hooks_(dense)
        for parent in list(dense.modules()):
            for key, child in parent.named_children():
                parent._modules[key] = plain_model(child) if hasattr(child, "_orig_mod") else child
        for module in list(dense.modules()):
            if parametrize.is_parametrized(module):
                for name in list(cast(nn.ModuleDict, module.parametrizations)):
                    make_plain_(module, name)
        plain_save_pretrained_(dense)
        permanent = [text for name, module in dense.named_modules() for text in _make_permanent_(name, module)]
    if permanent:
        text = f"made permanent in the copy that is worked on: {', '.join(permanent)}; the given network keeps them"
        warnings.warn(text, GrowlWarning, stacklevel=users_stacklevel())
    return dense


def _copied(model: nn.Module, shared: Mapping[int, Any]) -> nn.Module:
    try:
        return copy.deepcopy(model, dict(shared))
    except Exception as error:  # a user's module can hold anything
        computed = list(_computed(model))
        values = {id(value): value.detach().clone() for value in computed}
        try:
            return copy.deepcopy(model, {**shared, **values})
        except Exception as second:
            where = _uncopyable(model, values)
            raise CompactionError(
                f"the network cannot be copied: {f'{where}: ' if where else ''}{first_line(second)}"
                f"{'; remove it, or give it a __deepcopy__' if where else ''}"
            ) from error


def _computed(model: nn.Module) -> Iterator[Tensor]:
    """The tensors in attributes that carry a graph, which torch does not copy."""
    left: list[Any] = [vars(module) for module in model.modules()]
    seen: set[int] = set()
    while left:
        value = left.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, Tensor):
            if not value.is_leaf:
                yield value
        elif isinstance(value, dict):
            left += value.values()
        elif isinstance(value, list | tuple | set | frozenset | deque):
            left += value
        elif hasattr(value, "__dict__") and not isinstance(value, nn.Module | type | ModuleType | FunctionType):
            left.append(vars(value))


def _uncopyable(model: nn.Module, values: Mapping[int, Tensor]) -> str:
    """The first attribute of a module that cannot be copied; empty if each one can be."""
    for name, module in model.named_modules():
        for key, value in vars(module).items():
            if key == "_modules":
                continue
            try:
                copy.deepcopy(value, dict(values))
            except Exception:
                return f"attribute {key!r} of {repr(name) if name else 'the network'} ({type(value).__name__})"
    return ""


def permanent_hooks(module: nn.Module) -> dict[str, str]:
    """The tensors that a hook of torch computes before each call, with the kind: prune masks, old norms."""
    found = {}
    for hook in module._forward_pre_hooks.values():
        if isinstance(hook, prune.BasePruningMethod):
            found[str(hook._tensor_name)] = "a prune mask"
        elif isinstance(hook, WeightNorm):
            found[hook.name] = "an old weight_norm"
        elif isinstance(hook, SpectralNorm):
            found[hook.name] = "an old spectral_norm"
    return found


def _make_permanent_(name: str, module: nn.Module) -> Iterator[str]:
    remove: dict[str, Callable[[nn.Module, str], object]] = {
        "a prune mask": prune.remove,
        "an old weight_norm": remove_weight_norm,
        "an old spectral_norm": remove_spectral_norm,
    }
    for key, kind in permanent_hooks(module).items():
        with torch.no_grad():
            remove[kind](module, key)
        yield f"{kind} of {f'{name}.{key}' if name else key!r}"


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
