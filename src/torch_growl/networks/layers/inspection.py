"""The list of a network's layers: those with rows that can be penalised or tied, and the reason for all others.

No layer is skipped silently: every module that owns a parameter is in the list.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.nn.utils import parametrize

from torch_growl.networks.layers.kinds import LayerKind, Side, kind_of
from torch_growl.networks.layers.plain import clean_name, plain_model
from torch_growl.networks.layers.weights import unusable_weight
from torch_growl.networks.sharding import layer_type

__all__ = ["LayerInfo", "inspect_layers"]


@dataclass(frozen=True)
class LayerInfo:
    """One parametric layer of a network.

    Attributes:
        name: its dotted name in the network.
        module: the layer itself.
        type_name: the name of its type.
        kind: the kind registered for its type; None when there is none.
        reason: why it is not eligible; empty when it is.
        n_rows: number of rows; 0 when not eligible.
        row_length: weights in a row; 0 when not eligible.
    """

    name: str
    module: nn.Module
    type_name: str
    kind: LayerKind | None
    reason: str
    n_rows: int = 0
    row_length: int = 0

    @property
    def eligible(self) -> bool:
        """Tell whether its rows can be penalised and tied."""
        return not self.reason


def inspect_layers(model: nn.Module, side: Side = "input") -> list[LayerInfo]:
    """List every module that owns parameters, in the order of registration, with the reason if it is not eligible.

    Args:
        model: any network, compiled or wrapped ones too; not modified.
        side: whether rows are inputs or outputs.

    Example:
        >>> import torch
        >>> import torch_growl as tg
        >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.BatchNorm2d(8), torch.nn.Conv2d(8, 4, 3))
        >>> for layer in tg.inspect_layers(model):
        ...     print(layer.name, layer.type_name, layer.n_rows, layer.row_length, layer.reason or "eligible")
        0 Conv2d 3 72 eligible
        1 BatchNorm2d 0 0 type has no registered rows view
        2 Conv2d 8 36 eligible
    """
    model = plain_model(model)
    owners: dict[int, list[str]] = {}
    for name, module in model.named_modules(remove_duplicate=False):
        for key, parameter in module._parameters.items():
            if parameter is not None:
                owner = f"{clean_name(name)}.{key}" if name else key
                owners.setdefault(id(parameter), []).append(owner)
    infos = []
    for name, module in model.named_modules():
        owns = any(parameter is not None for parameter in module._parameters.values())
        if isinstance(module, parametrize.ParametrizationList) or not (owns or parametrize.is_parametrized(module)):
            continue
        name = clean_name(name)
        kind = kind_of(module)
        type_name = layer_type(module).__name__
        reason = _reason(module, kind, owners)
        if reason or kind is None:
            infos.append(LayerInfo(name, module, type_name, kind, reason))
        else:
            n_rows = kind.n_rows(module, side)
            infos.append(LayerInfo(name, module, type_name, kind, "", n_rows, _numel(module) // n_rows))
    return infos


def _numel(module: nn.Module) -> int:
    return cast(Tensor, module.weight).numel()


def _reason(module: nn.Module, kind: LayerKind | None, owners: dict[int, list[str]]) -> str:
    if kind is None:
        return "type has no registered rows view"
    if parametrize.is_parametrized(module, "weight"):
        return "weight is parametrized (untie_ it, or remove the parametrization first)"
    weight = module._parameters.get("weight")
    if weight is None:
        return "has no parameter named weight (weight_norm or a replaced parameter?)"
    if is_lazy(weight):
        return "not initialised yet (run the network once first)"
    if len(owners[id(weight)]) > 1:
        return f"weight is shared: {' = '.join(owners[id(weight)])}"
    if weight.is_floating_point() and not weight.requires_grad:
        return "frozen (requires_grad is False)"
    if weight.is_meta:
        return "weight is on the meta device, without values (use to_empty and initialise it first)"
    return unusable_weight(module, kind, weight)
