"""Settings for some layers of a network: by type, by pattern, by name; the nearer one wins."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from torch import nn

from torch_growl.errors import InvalidTypeError, InvalidValueError, LayerError
from torch_growl.mathematics.owl import LambdaSequence
from torch_growl.networks.layers import LayerInfo, matching

__all__ = ["Override", "resolve_overrides"]


@dataclass(frozen=True)
class Override:
    """What one layer does differently.

    Attributes:
        strength: in place of the global strength, ≥ 0; None: the global one.
        sequence: its own shape of λ; None: the global one.
        skip: leave the layer alone.
    """

    strength: float | None = None
    sequence: LambdaSequence | None = None
    skip: bool = False

    def __post_init__(self) -> None:
        if self.strength is not None and not (math.isfinite(self.strength) and self.strength >= 0):
            raise InvalidValueError(f"override strength must be finite and ≥ 0, got {self.strength}")
        if self.sequence is not None and not isinstance(self.sequence, LambdaSequence):
            raise InvalidTypeError(
                f"override sequence must be made by pld, lasso, …; got {type(self.sequence).__name__}"
            )


def resolve_overrides(
    overrides: Mapping[str | type[nn.Module], Override | Mapping[str, Any]], infos: list[LayerInfo]
) -> dict[str, Override]:
    """What holds for each layer that any override speaks of: type first, then patterns in their order, then names.

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
            raise InvalidValueError(
                f"override {key!r}: unknown field {sorted(unknown)[0]!r}; there are {sorted(known)}"
            )
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
