"""Optimizer state, schedulers and averaged weights of a dense network are made to fit its compact one.

State of removed weights is dropped and state of the others is copied. The gradient of a weight that s rows share is
the mean of the rows' gradients, Σ g_i / s (:class:`torch_growl.networks.compaction.shrinking.FedLayer`). Momenta are
therefore averaged, and so are averaged weights. Second moments become (Σ √v_i / s)², an upper bound of E(Σ g_i / s)²
that is exact after tied training.
"""

from __future__ import annotations

import copy
import warnings
from collections import defaultdict
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor, nn
from torch.optim import Optimizer, RMSprop
from torch.optim.swa_utils import AveragedModel

from torch_growl.arguments import check_type
from torch_growl.errors import GrowlWarning, InvalidValueError
from torch_growl.networks.compaction.shrinking import shrink_
from torch_growl.networks.compaction.structure import Structure, misfit, structure_of
from torch_growl.networks.execution import unpack_heads_
from torch_growl.networks.layers import (
    check_network,
    clean_name,
    outside_inference_mode,
    plain_copy,
    plain_model,
    rows_of,
    write_rows_,
)
from torch_growl.networks.tying import TiedRows, tied_layers

__all__ = ["compact_like", "compact_optimizer", "compact_scheduler"]

Rule = Literal["root", "mean"]
AnyOptimizer = TypeVar("AnyOptimizer", bound=Optimizer)
_RULES: dict[str, Rule] = dict.fromkeys(("momentum_buffer", "exp_avg", "grad_avg", "exp_inf"), "mean")
_RULES |= dict.fromkeys(("exp_avg_sq", "max_exp_avg_sq", "square_avg", "sum"), "root")
_ORIGINAL = ".parametrizations.weight.original"


def compact_like(dense: nn.Module, small: nn.Module) -> nn.Module:
    """Compact another network of the dense network's shapes, such as averaged weights, with the structure of ``small``.

    Args:
        dense: the other network, or an ``AveragedModel`` of it; not modified. Rows that ``small`` ties are averaged.
        small: a network made by ``compact`` or ``load``; not modified.

    Raises:
        InvalidTypeError: ``dense`` is not a module.
        InvalidValueError: ``small`` has no structure, or a structure that does not fit ``dense``.

    Warns:
        GrowlWarning: ``small`` has layers whose bias replaces constant inputs.

    Example:
        >>> import torch
        >>> import torch_growl as tg
        >>> model = torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
        >>> with torch.no_grad():
        ...     model[2].weight[:, :3] = 0
        >>> average = torch.optim.swa_utils.AveragedModel(model)
        >>> small = tg.compact(model, torch.randn(3, 6))
        >>> tg.compact_like(average, small).module[0]
        Linear(in_features=6, out_features=5, bias=True)
    """
    check_network("dense", dense)
    if isinstance(dense, AveragedModel):
        return copy.deepcopy(dense, {id(dense.module): compact_like(dense.module, small)})
    plan = structure_of(small)
    model = _checked(dense, plan)
    for layer in plan.layers:
        if layer.folded:
            text = f"layer {layer.name!r} replaced {layer.folded} constant inputs by its bias, which another network's"
            warnings.warn(f"{text} bias does not: compact() that network itself", GrowlWarning, stacklevel=2)
    with outside_inference_mode():
        return _cut(model, plan)


def compact_optimizer(optimizer: AnyOptimizer, dense: nn.Module, small: nn.Module) -> AnyOptimizer:
    """Make an optimizer of the same class and settings for the compact network, with the state of the kept weights.

    Args:
        optimizer: trains ``dense``, tied by ``tie_`` or not; not modified. The order of its groups is kept.
        dense: the network that ``small`` was made from, with the parameters that the optimizer holds; not modified.
        small: a network made by ``compact`` or ``load``; not modified.

    Raises:
        InvalidTypeError: ``optimizer`` is not an optimizer.
        InvalidValueError: the structure does not fit ``dense``, a parameter is not in ``dense``, or the state has an
            entry without a rule; the message names it and its parameter.

    Example:
        >>> import torch
        >>> import torch_growl as tg
        >>> model = torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        >>> x = torch.randn(3, 6)
        >>> model(x).sum().backward()
        >>> optimizer.step()
        >>> with torch.no_grad():
        ...     model[2].weight[:, :3] = 0
        >>> small = tg.compact(model, x)
        >>> new = tg.compact_optimizer(optimizer, model, small)
        >>> new.state[small[2].weight]["momentum_buffer"].shape
        torch.Size([2, 5])
    """
    check_type("optimizer", optimizer, Optimizer)
    check_network("dense", dense)
    plan = structure_of(small)
    plain = _checked(dense, plan)
    tied = {name: part for name, (_, part) in tied_layers(dense).items()}
    names = {id(p): clean_name(name) for name, p in plain_model(dense).named_parameters()}
    targets = dict(small.named_parameters())
    twins: dict[Tensor, tuple[str, nn.Parameter]] = {}
    for number, group in enumerate(optimizer.param_groups):
        for place, parameter in enumerate(group["params"]):
            if id(parameter) not in names:
                raise InvalidValueError(
                    f"parameter {place} of the optimizer's group {number}, shape {tuple(parameter.shape)}, is not in "
                    "the dense network; pass the network that the optimizer trains"
                )
            name = names[id(parameter)]
            twins[parameter] = name, _twin(name.replace(_ORIGINAL.removeprefix("."), "weight"), targets)
    state: dict[Tensor, dict[str, Any]] = defaultdict(dict)
    values: dict[tuple[str, torch.dtype], dict[str, Tensor]] = {}
    for parameter, (name, twin) in twins.items():
        for key, value in optimizer.state.get(parameter, {}).items():
            if not isinstance(value, Tensor) or (value.ndim == 0 and parameter.ndim):
                if not isinstance(value, Tensor | int | float | bool | None):
                    raise _unknown(name, key, type(value).__name__)
                state[twin][key] = copy.deepcopy(value)
            elif value.shape != parameter.shape:
                raise _unknown(name, key, f"shape {tuple(value.shape)}, the parameter has {tuple(parameter.shape)}")
            else:
                values.setdefault((key, value.dtype), {})[name] = value
    for (key, dtype), given in values.items():
        of_steps = isinstance(optimizer, RMSprop) and key == "momentum_buffer"  # as long for √s · w as for w
        for name, twin, value in _cut_values(plain, plan, given, key, tied, targets, of_steps=of_steps):
            if value.shape != twin.shape:
                raise _unknown(
                    name,
                    key,
                    f"shape {tuple(value.shape)} after removal, the compact parameter has {tuple(twin.shape)}",
                )
            state[twin][key] = torch.empty_like(twin, dtype=dtype, requires_grad=False).copy_(value)
    added = {
        bias: _twin(f"{layer.name}.weight".removeprefix("."), targets)
        for layer in plan.layers
        if layer.bias_added
        for bias in (f"{layer.name}.bias".removeprefix("."), f"{layer.name}.layer.bias".removeprefix("."))
        if bias in targets
    }
    spelt = {id(p): name for name, p in targets.items()}
    groups = []
    for group in optimizer.param_groups:
        own = [twins[p][1] for p in group["params"]]
        own += [targets[bias] for bias, weight in added.items() if any(weight is p for p in own)]
        new = {key: copy.deepcopy(value) for key, value in group.items() if key != "params"} | {"params": own}
        if "param_names" in group:
            new["param_names"] = [spelt[id(p)] for p in own]
        groups.append(new)
    made = type(optimizer).__new__(type(optimizer))
    made.__setstate__({"defaults": copy.deepcopy(optimizer.defaults), "state": state, "param_groups": groups})
    return made


def compact_scheduler(scheduler: Any, old: Optimizer, new: Optimizer) -> Any:
    """Copy a learning-rate scheduler with its state, for the new optimizer.

    Args:
        scheduler: the scheduler of ``old``; not modified.
        old: the dense network's optimizer.
        new: the optimizer that :func:`compact_optimizer` made from it.

    Raises:
        InvalidValueError: the scheduler belongs to another optimizer.

    Example:
        >>> import torch
        >>> import torch_growl as tg
        >>> model = torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.5)
        >>> optimizer.step()
        >>> scheduler.step()
        >>> with torch.no_grad():
        ...     model[2].weight[:, :3] = 0
        >>> small = tg.compact(model, torch.randn(3, 6))
        >>> new = tg.compact_optimizer(optimizer, model, small)
        >>> following = tg.compact_scheduler(scheduler, optimizer, new)
        >>> new.step()
        >>> following.step()
        >>> new.param_groups[0]["lr"], optimizer.param_groups[0]["lr"]
        (0.025, 0.05)
    """
    if getattr(scheduler, "optimizer", None) is not old:
        raise InvalidValueError("the scheduler belongs to another optimizer than old; pass its own optimizer")
    return copy.deepcopy(scheduler, {id(old): new})


def _unknown(name: str, key: str, what: str) -> InvalidValueError:
    return InvalidValueError(f"parameter {name!r}: state {key!r} cannot be compacted ({what}); remove it first")


def _twin(name: str, targets: dict[str, nn.Parameter]) -> nn.Parameter:
    head, _, key = name.rpartition(".")
    for candidate in (name, f"{head}.layer.{key}" if head else f"layer.{key}"):
        if candidate in targets:
            return targets[candidate]
    raise InvalidValueError(f"parameter {name!r} of the dense network has no counterpart in the compact one")


def _checked(dense: nn.Module, plan: Structure) -> nn.Module:
    model = plain_copy(dense)
    unpack_heads_(model)
    if (wrong := misfit(model, plan)) is not None:
        layer, shape = wrong
        if shape is None:
            raise InvalidValueError(f"layer {layer.name!r} of the structure is not in the dense network")
        raise InvalidValueError(
            f"layer {layer.name!r} has {shape} inputs and outputs, the structure {(layer.inputs, layer.outputs)}: "
            "the compact network was made from another network"
        )
    return model


@torch.no_grad()
def _cut(model: nn.Module, plan: Structure, rule: Rule | None = "mean") -> nn.Module:
    """Apply a structure after setting the first row of every group to the mean of its rows, or of their roots."""
    for layer in plan.layers:
        module = model.get_submodule(layer.name)
        rows = rows_of(module).clone()
        groups = [members for members in layer.slots if len(members) > 1] if layer.labels else []
        for members in groups:
            own = rows[members]
            rows[members[0]] = own.sqrt().mean(0) ** 2 if rule == "root" else own.mean(0)
        if groups:
            write_rows_(module, rows)
    return shrink_(model, plan)


@torch.no_grad()
def _cut_values(
    plain: nn.Module,
    plan: Structure,
    given: dict[str, Tensor],
    key: str,
    tied: dict[str, TiedRows],
    targets: dict[str, nn.Parameter],
    *,
    of_steps: bool,
) -> list[tuple[str, nn.Parameter, Tensor]]:
    rule = _RULES.get(key)
    model = copy.deepcopy(plain).double()
    parameters = dict(model.named_parameters())
    for parameter in parameters.values():
        parameter.zero_()
    names = {}
    summing = {c.name for c in plan.layers if c.labels is not None and any(len(s) > 1 for s in c.slots)}
    for name, value in given.items():
        layer = name.removesuffix(_ORIGINAL) if name.endswith(_ORIGINAL) else None
        plain_name = name if layer is None else f"{layer}.weight"
        if rule is None and (layer is not None or (name.endswith("weight") and name.rpartition(".")[0] in summing)):
            raise _unknown(name, key, "no rule is known for tied rows")
        if layer is not None:
            if layer not in tied:
                raise _unknown(name, key, "the weight has another parametrization than tie_'s")
            part = tied[layer]
            wide = value.double()
            if rule == "root":
                value = part(wide.sqrt()).square()
            else:
                value = part(wide * part.root.double() if of_steps else wide)
        parameters[plain_name].copy_(value)
        names[plain_name] = name
    small = _cut(model, plan, rule)
    cut = dict(small.named_parameters())
    return [(name, _twin(plain_name, targets), _twin(plain_name, cut).detach()) for plain_name, name in names.items()]
