"""Optimizer, scheduler and averaged weights of a dense network carried over to its compact one, so training goes on.

What was pruned or cut is dropped and what stays is copied. A weight w_c shared by a group reads the *sum* of its
members' inputs, so its gradient is Σ g_i: momenta are summed; second moments are (Σ √v_i)², the largest that E(Σ g_i)²
can be, and exactly it after tied training. Averaged weights are averaged. RMSprop's momentum holds steps: the mean.

A plain step on w_c moves it s times (Adam: √s times) as far as the tied training does, where it is stored as √s · w_c:
divide the learning rate by s for the same path.
"""

from __future__ import annotations

import copy
from collections import defaultdict
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor, nn
from torch.optim import Optimizer, RMSprop
from torch.optim.swa_utils import AveragedModel

from torch_growl.errors import InvalidTypeError, InvalidValueError
from torch_growl.networks.compaction.shrinking import shrink_
from torch_growl.networks.compaction.structure import Structure, structure_of
from torch_growl.networks.layers import (
    clean_name,
    kind_of,
    plain_copy,
    plain_model,
    registered_kind,
    rows_of,
    write_rows_,
)
from torch_growl.networks.tying import TiedRows, tied_layers

__all__ = ["compact_like", "compact_optimizer", "compact_scheduler"]

Rule = Literal["sum", "root", "mean"]
AnyOptimizer = TypeVar("AnyOptimizer", bound=Optimizer)
_RULES: dict[str, Rule] = {"momentum_buffer": "sum", "exp_avg": "sum", "grad_avg": "sum", "exp_inf": "sum"}
_RULES |= dict.fromkeys(("exp_avg_sq", "max_exp_avg_sq", "square_avg", "sum"), "root")
_ORIGINAL = ".parametrizations.weight.original"


def compact_like(dense: nn.Module, small: nn.Module) -> nn.Module:
    """Another network of the dense one's shapes, an average of weights for instance, cut as ``small`` was.

    Args:
        dense: it, or an ``AveragedModel`` around it; not modified. Rows that ``small`` ties are averaged.
        small: a network made by ``compact`` or ``load``; not modified.

    Raises:
        InvalidValueError: ``small`` has no structure record, or it is of other layers than ``dense``'s.
    """
    if not isinstance(dense, nn.Module):
        raise InvalidTypeError(f"dense must be a torch.nn.Module, got {type(dense).__name__}")
    if isinstance(dense, AveragedModel):
        return copy.deepcopy(dense, {id(dense.module): compact_like(dense.module, small)})
    plan = structure_of(small)
    model = _checked(dense, plan)
    return _cut(model, plan, dict.fromkeys((layer.name for layer in plan.layers), "mean"))


def compact_optimizer(optimizer: AnyOptimizer, dense: nn.Module, small: nn.Module) -> AnyOptimizer:
    """An optimizer of the same class and settings over the small network's parameters, its state cut as they are.

    Args:
        optimizer: trains ``dense``, tied by ``tie_`` or not; not modified. Its groups and their order are kept.
        dense: the network that ``small`` was made of, with the parameters that the optimizer holds; not modified.
        small: made by ``compact`` or ``load``; not modified.

    Raises:
        InvalidValueError: the structure is of another network, a parameter is not in ``dense``, or a state entry
            cannot be carried; it and its parameter are named.
    """
    if not isinstance(optimizer, Optimizer):
        raise InvalidTypeError(f"optimizer must be a torch.optim.Optimizer, got {type(optimizer).__name__}")
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
                    "the dense network; give the network that it trains"
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
        rule: Rule | None = "mean" if isinstance(optimizer, RMSprop) and key == "momentum_buffer" else _RULES.get(key)
        for name, twin, value in _cut_values(plain, plan, given, key, rule, tied, targets):
            if value.shape != twin.shape:
                raise _unknown(name, key, f"shape {tuple(value.shape)} when cut, the small one has {tuple(twin.shape)}")
            state[twin][key] = torch.empty_like(twin, dtype=dtype, requires_grad=False).copy_(value)
    spelt = {id(p): name for name, p in targets.items()}
    groups = []
    for group in optimizer.param_groups:
        own = [twins[p][1] for p in group["params"]]
        new = {key: copy.deepcopy(value) for key, value in group.items() if key != "params"} | {"params": own}
        if "param_names" in group:
            new["param_names"] = [spelt[id(p)] for p in own]
        groups.append(new)
    made = type(optimizer).__new__(type(optimizer))
    made.__setstate__({"defaults": copy.deepcopy(optimizer.defaults), "state": state, "param_groups": groups})
    return made


def compact_scheduler(scheduler: Any, old: Optimizer, new: Optimizer) -> Any:
    """A copy of a learning-rate scheduler, its state included, that drives the new optimizer.

    Args:
        scheduler: drives ``old``; not modified.
        old: the dense network's optimizer.
        new: what :func:`compact_optimizer` made of it.

    Raises:
        InvalidValueError: the scheduler drives another optimizer.
    """
    if getattr(scheduler, "optimizer", None) is not old:
        raise InvalidValueError("the scheduler does not drive the optimizer that was given; give its own")
    return copy.deepcopy(scheduler, {id(old): new})


def _unknown(name: str, key: str, what: str) -> InvalidValueError:
    return InvalidValueError(f"parameter {name!r}: state {key!r} cannot be carried over ({what}); drop it first")


def _twin(name: str, targets: dict[str, nn.Parameter]) -> nn.Parameter:
    head, _, key = name.rpartition(".")
    for candidate in (name, f"{head}.layer.{key}" if head else f"layer.{key}"):
        if candidate in targets:
            return targets[candidate]
    raise InvalidValueError(f"parameter {name!r} of the dense network has no counterpart in the small one")


def _checked(dense: nn.Module, plan: Structure) -> nn.Module:
    model = plain_copy(dense)
    modules = dict(model.named_modules())
    for layer in plan.layers:
        module = modules.get(layer.name)
        if module is None or kind_of(module) is None:
            raise InvalidValueError(f"layer {layer.name!r} of the structure is not in the dense network")
        shape = registered_kind(module).sizes(module)[:2]
        if shape != (layer.inputs, layer.outputs):
            raise InvalidValueError(
                f"layer {layer.name!r} has {shape} inputs and outputs, the structure {(layer.inputs, layer.outputs)}: "
                "the small network was made of another one"
            )
    return model


@torch.no_grad()
def _cut(model: nn.Module, plan: Structure, rules: dict[str, Any]) -> nn.Module:
    """Shrink, the first row of every group set to what becomes of the group."""
    for layer in plan.layers:
        module = model.get_submodule(layer.name)
        rows = rows_of(module).clone()
        groups = [members for members in layer.slots if len(members) > 1] if layer.labels else []
        for members in groups:
            own, rule = rows[members], rules[layer.name]
            if rule == "root":
                rows[members[0]] = own.sqrt().sum(0) ** 2
            else:
                rows[members[0]] = own.sum(0) if rule == "sum" else own.mean(0)
        if groups:
            write_rows_(module, rows)
    return shrink_(model, plan)


@torch.no_grad()
def _cut_values(
    plain: nn.Module,
    plan: Structure,
    given: dict[str, Tensor],
    key: str,
    rule: Rule | None,
    tied: dict[str, TiedRows],
    targets: dict[str, nn.Parameter],
) -> list[tuple[str, nn.Parameter, Tensor]]:
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
            raise _unknown(name, key, "no rule is known for rows that are tied")
        if layer is not None:
            if layer not in tied:
                raise _unknown(name, key, "the weight is parametrized by other than tie_")
            part = tied[layer]
            wide = value.double()
            if rule == "root":
                value = part(wide.sqrt()).square()
            else:
                value = part(wide * part.root.double() if rule == "mean" else wide)
        parameters[plain_name].copy_(value)
        names[plain_name] = name
    small = _cut(model, plan, dict.fromkeys((layer.name for layer in plan.layers), rule))
    cut = dict(small.named_parameters())
    return [(name, _twin(plain_name, targets), _twin(plain_name, cut).detach()) for plain_name, name in names.items()]
