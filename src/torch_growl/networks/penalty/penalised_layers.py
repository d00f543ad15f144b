"""The penalised layers of a network with the settings of each: global ones, or overrides by type, pattern or name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, cast

import numpy as np
import torch
from torch import Tensor, nn

from torch_growl.arguments import check_number, did_you_mean
from torch_growl.errors import InvalidTypeError, InvalidValueError, LayerError
from torch_growl.mathematics.clustering import Partition
from torch_growl.mathematics.owl import LambdaSequence, pld
from torch_growl.networks.channels import PenalisedChannels
from torch_growl.networks.layers import (
    LayerInfo,
    Side,
    choose_layers,
    default_layers,
    inspect_layers,
    matching,
    nonzero_rows,
    registered_kind,
    rows_of,
    scale_rows_,
    shard_rows,
    warn_of_adapters,
    zero_rows_,
)
from torch_growl.networks.sharding import differentiable_norms, is_sharded
from torch_growl.networks.targets import RowsOf
from torch_growl.networks.tying import RowGroups
from torch_growl.networks.wiring import Flags

__all__ = [
    "DEFAULT_SEQUENCE",
    "Balance",
    "Override",
    "Overrides",
    "Penalised",
    "PenalisedLayer",
    "check_sequence",
    "check_shapes",
    "checked_ties",
    "choose_penalised",
    "hold_rows_",
    "power_of",
    "resolve_overrides",
]

Balance = Literal["weights", "none"]
DEFAULT_SEQUENCE = pld(p=0.3, floor=0.85)
Overrides = Mapping[str | type[nn.Module], "Override | Mapping[str, Any]"]


@dataclass(frozen=True)
class Override:
    """The settings in which one layer differs.

    Attributes:
        strength: in place of the global strength, ≥ 0; None: the global one.
        sequence: in place of the global shape of λ; None: the global one.
        skip: whether the layer is left unpenalised.
    """

    strength: float | None = None
    sequence: LambdaSequence | None = None
    skip: bool = False

    def __post_init__(self) -> None:
        if self.strength is not None:
            check_number("override strength", self.strength, least=0)
        if self.sequence is not None:
            check_sequence("override sequence", self.sequence)


def check_sequence(name: str, value: Any) -> LambdaSequence:
    """Check that a value is a sequence of λ.

    Raises:
        InvalidTypeError: it is not.
    """
    if not isinstance(value, LambdaSequence):
        raise InvalidTypeError(f"{name} must be made by pld, lasso, oscar, …; got {type(value).__name__}")
    return value


def resolve_overrides(overrides: Overrides, infos: list[LayerInfo]) -> dict[str, Override]:
    """Resolve the settings of every layer that an override matches: by type, then patterns in order, then names.

    Args:
        overrides: by type, type name, shell pattern or layer name; a mapping's keys are the fields of Override.
        infos: every parametric layer of the network.

    Raises:
        InvalidValueError: an unknown field or a value outside its range.
        LayerError: a key matches no layer.
    """
    known = {field.name for field in fields(Override)}
    ranked: list[tuple[int, list[LayerInfo], dict[str, Any]]] = []
    for key, value in overrides.items():
        given = (
            {name: getattr(value, name) for name in known if getattr(value, name) not in (None, False)}
            if isinstance(value, Override)
            else dict(value)
        )
        if unknown := set(given) - known:
            field = sorted(unknown)[0]
            raise InvalidValueError(f"override {key!r}: unknown field {field!r}; {did_you_mean(field, sorted(known))}")
        type_name = key if isinstance(key, str) else key.__name__
        of_type = [info for info in infos if info.type_name == type_name and info.eligible]
        if any(info.name == type_name for info in infos):
            ranked.append((2, [info for info in infos if info.name == type_name], given))
        elif of_type:
            ranked.append((0, of_type, given))
        elif isinstance(key, str):
            ranked.append((1, [info for info in matching(key, infos) if info.eligible], given))
        else:
            raise LayerError(f"override for {type_name}: the network has no eligible layer of that type")
    resolved: dict[str, Override] = {}
    for _, layers, given in sorted(ranked, key=lambda item: item[0]):
        for info in layers:
            resolved[info.name] = replace(resolved.get(info.name, Override()), **given)
    return resolved


@dataclass
class PenalisedLayer:
    """One penalised layer with its settings.

    Attributes:
        info: the layer.
        own_strength: its strength; None: the global one times ``share``.
        lam: its λ, ``(n_rows,)`` float64 on the CPU.
        share: the factor of the global strength that ``balance`` gives.
        side: which side's rows.
    """

    info: LayerInfo
    own_strength: float | None
    lam: Tensor
    share: float = 1.0
    side: Side = "input"

    @property
    def name(self) -> str:
        """The layer's name."""
        return self.info.name

    @property
    def readers(self) -> tuple[str, ...]:
        """The layers that its rows are of."""
        return (self.info.name,)

    @property
    def text(self) -> str:
        """Its type and the size of its rows."""
        return f"({self.info.type_name}): {self.info.n_rows} rows of {self.info.row_length}"

    @property
    def weight(self) -> Tensor:
        """The weight that the layer has now."""
        return cast(Tensor, self.info.module.weight)

    @property
    def n_weights(self) -> int:
        """The number of its weights."""
        return self.info.n_rows * self.info.row_length

    @property
    def frozen(self) -> bool:
        """Tell whether the weight has been frozen since; neither an optimizer nor the prox changes it then."""
        weight = self.info.module._parameters.get("weight")
        return weight is not None and not weight.requires_grad

    def zero_at_start(self) -> Tensor:
        """The rows that are zero already and stay zero; none if all are: that is an initialisation, not a pruning."""
        zero = ~nonzero_rows([self.info.module], self.side)[0]
        return torch.zeros_like(zero) if bool(zero.all()) else zero

    def norms(self) -> Tensor:
        """The norms of its rows, differentiable."""
        if (shard := shard_rows(self.info.module, self.side)) is not None:
            return differentiable_norms(shard, self.weight)
        norms: Tensor = torch.linalg.vector_norm(rows_of(self.info.module, self.side), dim=1)
        return norms

    def scale_(self, factors: Tensor) -> None:
        """Multiply its rows, in place."""
        scale_rows_(self.info.module, factors.to(self.weight.device), self.side, self.weight.detach())

    def zero_base_(self, pruned: Tensor, base_of: Callable[[Tensor], Tensor | None]) -> None:
        """Set pruned rows to zero in a tensor that an optimizer keeps for its weight, if it does."""
        if (base := base_of(self.weight)) is not None:
            scale_rows_(self.info.module, (~pruned).to(base.device, base.dtype), self.side, base)

    def tie_(self, groups: RowGroups, base_of: Callable[[Tensor], Tensor | None]) -> None:
        """Set rows of each group to their mean, in a tensor that an optimizer keeps for its weight too, if it does."""
        groups.average_(self.info.module, self.side)
        if (base := base_of(self.weight)) is not None:
            groups.average_(self.info.module, self.side, base)

    def flags(self, rows: Mapping[str, Flags]) -> Flags:
        """Its rows among those of some layers, by name; none if it is not one of them."""
        return rows.get(self.name, np.zeros(len(self.lam), dtype=np.bool_))

    def as_rows(self, least: int) -> RowsOf:
        """Its rows for a target."""
        return RowsOf(self.name, self.info.module, self.lam.numpy(), least)


Penalised = PenalisedLayer | PenalisedChannels


def choose_penalised(
    model: nn.Module,
    layers: Iterable[str] | None,
    overrides: Overrides,
    sequence: LambdaSequence,
    *,
    side: Side,
    balance: Balance | float,
    last: bool = False,
) -> tuple[list[PenalisedLayer], dict[str, str]]:
    """Choose the layers to penalise; the arguments are those of :class:`torch_growl.GrOWL`, and ``last``: by default
    the last layer too.

    Returns:
        The penalised layers in the network's order, and the reason for each layer that is left out.

    Raises:
        InvalidValueError: ``balance`` or a field of an override is not allowed.
        LayerError: an unknown or ineligible layer is named, or no layer is left.
    """
    power = power_of(balance)
    infos = inspect_layers(model, side)
    chosen = choose_layers(model, layers, side, last=last)
    warn_of_adapters([info.name for info in chosen])
    settings = resolve_overrides(overrides, infos)
    names = {info.name for info in chosen}
    for name, setting in settings.items():
        if name not in names and not setting.skip:
            raise LayerError(f"override for layer {name!r}, which is not penalised; name it in layers= too")
    skipped = {name for name, setting in settings.items() if setting.skip}
    penalised = []
    for info in chosen:
        if info.name not in skipped:
            setting = settings.get(info.name, Override())
            lam = (setting.sequence or sequence)(info.n_rows, row_length=info.row_length)
            penalised.append(PenalisedLayer(info, setting.strength, lam, side=side))
    if not penalised:
        raise LayerError("every chosen layer is skipped by an override: there is nothing to penalise")
    total = sum(layer.n_weights for layer in penalised)
    for layer in penalised:
        layer.share = float((layer.n_weights / total) ** power)
    defaults = default_layers(infos, last=last) if layers is None else {}
    left_out = {}
    for info in infos:
        if info.name not in names:
            left_out[info.name] = info.reason or defaults.get(info.name, "not asked for")
        elif info.name in skipped:
            left_out[info.name] = "skipped by an override"
    return penalised, left_out


def hold_rows_(model: nn.Module, pruned: Mapping[str, Tensor], ties: Mapping[str, RowGroups], side: Side) -> None:
    """Set rows of a network's layers to zero, and others equal.

    Args:
        model: the network; modified in place.
        pruned: by layer name, ``(n_rows,)`` bool.
        ties: by layer name the rows that get their mean; those of layers in ``pruned``.
        side: which side's rows.

    Raises:
        LayerError: the network lacks a layer, or that layer has another number of rows; nothing is changed then.
    """
    infos = {info.name: info for info in inspect_layers(model, side)}
    for name, zero in pruned.items():
        if name not in infos or infos[name].module._parameters.get("weight") is None:
            raise LayerError(f"the network has no layer {name!r} with a plain weight, as the penalised network has")
        module = infos[name].module
        if (found := registered_kind(module).n_rows(module, side)) != len(zero):
            raise LayerError(f"layer {name!r} has {found} rows, not {len(zero)}: it is not of the penalised network")
    for name, zero in pruned.items():
        zero_rows_(infos[name].module, zero, side)
    for name, groups in ties.items():
        groups.without(pruned[name].cpu()).average_(infos[name].module, side)


def check_shapes(average: nn.Module, model: nn.Module) -> None:
    """Refuse an average with a weight of another shape than the network's."""
    shapes = {name: parameter.shape for name, parameter in average.named_parameters()}
    for name, parameter in model.named_parameters():
        if (found := shapes.get(name, parameter.shape)) != parameter.shape:
            raise LayerError(f"{name!r} has shape {tuple(found)}, not {tuple(parameter.shape)} as in the network")


def checked_ties(
    layers: Mapping[str, Penalised], partitions: Mapping[str, Partition], side: str, capturable: bool
) -> dict[str, RowGroups]:
    """Return the groups of rows that are to be held equal in a training.

    Args:
        layers: the penalised ones.
        partitions: of the rows of some of them.
        side: the rows.
        capturable: whether a step must not wait for the device.

    Raises:
        LayerError: a layer is not penalised, has another number of rows, or is spread over processes.
        InvalidValueError: rows are no inputs, or the step is capturable.
    """
    if partitions and (side != "input" or capturable):
        raise InvalidValueError(
            "only rows that are inputs are tied in a training, and not with capturable=True; got "
            f"side={side!r}, capturable={capturable}"
        )
    for name, partition in partitions.items():
        layer = layers.get(name)
        if not isinstance(layer, PenalisedLayer) or partition.n_rows != len(layer.lam):
            raise LayerError(
                f"the ties are of {partition.n_rows} rows of {name!r}, which is no penalised layer of them"
            )
        if is_sharded(layer.weight):
            raise LayerError(
                f"layer {name!r} is spread over processes, and its rows are not tied in a training; tie them "
                "afterwards: tg.tie_(model, tying, optimizer)"
            )
    groups = {name: RowGroups(partition) for name, partition in partitions.items()}
    return {name: own for name, own in groups.items() if len(own)}


def power_of(balance: Balance | float) -> float:
    """The power of a layer's share of the weights that its strength is multiplied by."""
    if balance == "weights" or balance == "none":
        return 0.5 if balance == "weights" else 0.0
    if isinstance(balance, bool) or not isinstance(balance, int | float) or not 0 <= balance <= 2:
        raise InvalidValueError(f"balance must be 'weights', 'none' or a number in [0, 2], got {balance!r}")
    return float(balance)
