"""Which layers of a network have rows that may be penalised or tied, and why the others do not.

Nothing is skipped silently: every module that owns a parameter is in the list, eligible or with its reason.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from torch import nn
from torch.nn.parameter import is_lazy
from torch.nn.utils import parametrize

from torch_growl.errors import LayerError
from torch_growl.networks.layers.kinds import LayerKind, Side, kind_of, rows_of

__all__ = ["LayerInfo", "choose_layers", "default_layers", "inspect_layers", "plain_model"]


@dataclass(frozen=True)
class LayerInfo:
    """One parametric layer of a network.

    Attributes:
        name: its dotted name in the network.
        module: the layer itself.
        type_name: the name of its type.
        kind: what is known of the type; None for an unknown one.
        reason: why it has no rows to work on; empty when it is eligible.
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
        """Whether its rows may be penalised and tied."""
        return not self.reason


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
    """A module's dotted name without the parts that ``torch.compile`` put in."""
    return ".".join(part for part in name.split(".") if part != "_orig_mod")


def inspect_layers(model: nn.Module, side: Side = "input") -> list[LayerInfo]:
    """Every module that owns parameters, in the order of registration, eligible or with the reason why not.

    Args:
        model: any network, compiled or wrapped ones too; not modified.
        side: which side's rows are meant.
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
        type_name = parametrize.type_before_parametrizations(module).__name__
        reason = _reason(module, kind, owners)
        if reason:
            infos.append(LayerInfo(name, module, type_name, kind, reason))
        else:
            rows = rows_of(module, side)
            infos.append(LayerInfo(name, module, type_name, kind, "", rows.shape[0], rows.shape[1]))
    return infos


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
    if not weight.is_floating_point():
        return f"weight is {weight.dtype}, not floating point"
    if not weight.requires_grad:
        return "frozen (requires_grad is False)"
    if weight.numel() == 0:
        return "weight is empty"
    return ""


def default_layers(infos: Sequence[LayerInfo]) -> dict[str, str]:
    """Eligible layers that are left out unless asked for, with the reason: the first convolution and the last layer.

    The first convolution reads the raw input (three colours), the last layer's rows are the features classes are told
    apart by; "first" and "last" are meant in the order of registration. A first Linear stays in.
    """
    rows = [info for info in infos if info.kind is not None]
    left_out = {}
    for info in rows:
        if info.kind is not None and info.kind.is_convolution:
            left_out[info.name] = "the network's first convolution"
            break
    if rows:
        left_out[rows[-1].name] = "the network's last layer"
    return {info.name: left_out[info.name] for info in rows if info.eligible and info.name in left_out}


def choose_layers(model: nn.Module, layers: Iterable[str] | None, side: Side = "input") -> list[LayerInfo]:
    """The layers to work on.

    Args:
        model: the network; not modified.
        layers: dotted names or shell patterns (``"features.*"``); None: every eligible layer except the network's
            first convolution and its last layer.
        side: which side's rows are meant.

    Raises:
        LayerError: a name matches no layer, a layer asked for by name is not eligible, or none is left.
    """
    if side not in ("input", "output"):
        raise LayerError(f"side must be 'input' or 'output', got {side!r}")
    infos = inspect_layers(model, side)
    if layers is None:
        left_out = default_layers(infos)
        chosen = [info for info in infos if info.eligible and info.name not in left_out]
        if not chosen:
            listed = (
                "; ".join(f"{i.name or '(root)'}: {i.reason or left_out[i.name]}" for i in infos) or "no parameters"
            )
            raise LayerError(f"the network has no layer to work on ({listed}); name some with layers=")
        return chosen
    if isinstance(layers, str):
        layers = [layers]
    wanted: set[str] = set()
    for pattern in layers:
        found = matching(pattern, infos)
        exact = [info for info in found if info.name == pattern]
        for info in exact or [info for info in found if info.eligible]:
            if not info.eligible:
                raise LayerError(f"layer {info.name!r} ({info.type_name}) is not eligible: {info.reason}")
            wanted.add(info.name)
        if not any(info.eligible for info in found):
            raise LayerError(f"no layer that matches {pattern!r} is eligible: {found[0].name!r} {found[0].reason}")
    if not wanted:
        raise LayerError("layers is empty; leave it out to take every eligible layer")
    return [info for info in infos if info.name in wanted]


def matching(pattern: str, infos: Sequence[LayerInfo]) -> list[LayerInfo]:
    """The layers whose name is, or matches, a pattern.

    Raises:
        LayerError: there is none; close names are suggested.
    """
    found = [info for info in infos if info.name == pattern or fnmatchcase(info.name, pattern)]
    if not found:
        names = [info.name for info in infos]
        close = difflib.get_close_matches(pattern, names, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else f"; the network has {', '.join(names) or 'none'}"
        raise LayerError(f"unknown layer {pattern!r}{hint}")
    return found
