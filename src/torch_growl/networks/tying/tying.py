"""The tying of a network: for every layer, which rows are pruned and which share one value.

A :class:`Tying` is a plain value: made from a trained network by :func:`find_tying`, written as JSON, enforced by
:func:`torch_growl.tie_`. Its figures are the paper's (ICLR 2018, section 4): sparsity = zero rows / rows, sharing =
nonzero rows / distinct rows, compression = weights / distinct weights of the layers it speaks of.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn

from torch_growl.errors import InvalidTypeError, InvalidValueError, LayerError
from torch_growl.mathematics.clustering import PRUNED, Partition, cluster_rows, merge_rows
from torch_growl.networks.layers import Side, choose_layers, matching, rows_of

__all__ = ["LayerTying", "Tying", "find_tying"]

_SCHEMA = 1


@dataclass(frozen=True)
class LayerTying:
    """The tying of one layer.

    Attributes:
        name: the layer's dotted name.
        partition: its rows' labels.
        row_length: weights in a row.
        side: which side's rows they are.
        tied: False when grouping was tried and given up, because hardly any rows would have shared a value.
    """

    name: str
    partition: Partition
    row_length: int
    side: Side = "input"
    tied: bool = True

    @property
    def sparsity(self) -> float:
        """Pruned rows / rows, 0..1."""
        return 1 - self.partition.nonzero / self.partition.n_rows

    @property
    def sharing(self) -> float:
        """Nonzero rows / distinct nonzero rows, ≥ 1."""
        return self.partition.nonzero / max(self.partition.n_groups, 1)


@dataclass(frozen=True)
class Tying:
    """The tyings of some layers, in the network's order; index it by a layer's name.

    Raises:
        InvalidValueError: two entries name the same layer.
    """

    layers: tuple[LayerTying, ...]

    def __post_init__(self) -> None:
        names = [layer.name for layer in self.layers]
        if len(set(names)) != len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise InvalidValueError(f"layer {twice!r} appears twice in the tying; tie one side of a layer at a time")

    def __getitem__(self, name: str) -> LayerTying:
        for layer in self.layers:
            if layer.name == name:
                return layer
        raise LayerError(f"the tying has no layer {name!r}; it has {', '.join(layer.name for layer in self.layers)}")

    def __iter__(self) -> Iterator[LayerTying]:
        return iter(self.layers)

    def __len__(self) -> int:
        return len(self.layers)

    @property
    def sparsity(self) -> float:
        """Pruned rows / rows over all its layers, 0..1."""
        rows = sum(layer.partition.n_rows for layer in self.layers)
        return 1 - sum(layer.partition.nonzero for layer in self.layers) / rows if rows else 0.0

    @property
    def sharing(self) -> float:
        """Nonzero rows / distinct nonzero rows over all its layers, ≥ 1."""
        groups = sum(layer.partition.n_groups for layer in self.layers)
        return sum(layer.partition.nonzero for layer in self.layers) / groups if groups else 1.0

    def compression(self, *, chain: bool = False) -> float:
        """The paper's compression: weights / distinct weights of these layers; biases and indices are not counted.

        Args:
            chain: count a pruned row of layer l + 1 as removing the filter of layer l too, as the paper does for VGG:
                ``1/ratio = Σ_l share_l · nz_l · nz_{l+1} · groups_l / nonzero_l`` with share_l layer l's part of the
                weights. The layers must then be consecutive in the network; after the last, nz = 1.
        """
        total = sum(layer.partition.n_rows * layer.row_length for layer in self.layers)
        distinct = 0.0
        for layer, after in zip(self.layers, (*self.layers[1:], None), strict=True):
            kept = 1 - after.sparsity if chain and after is not None else 1.0
            distinct += layer.partition.n_groups * layer.row_length * kept
        return total / distinct if distinct else float("inf")

    def counts(self) -> dict[str, Any]:
        """Rows, nonzero and distinct rows by layer, and the compression, as plain data for a log."""
        layers = {
            layer.name: {
                "rows": layer.partition.n_rows,
                "nonzero": layer.partition.nonzero,
                "distinct": layer.partition.n_groups,
            }
            for layer in self.layers
        }
        return {"layers": layers, "compression": self.compression()}

    def to_json(self, *, indent: int | None = None) -> str:
        """The tying as JSON text."""
        layers = [
            {
                "name": layer.name,
                "side": layer.side,
                "row_length": layer.row_length,
                "tied": layer.tied,
                "labels": list(layer.partition.labels),
            }
            for layer in self.layers
        ]
        return json.dumps({"schema": _SCHEMA, "layers": layers}, indent=indent)

    @classmethod
    def from_json(cls, text: str) -> Tying:
        """Read what :meth:`to_json` wrote.

        Raises:
            InvalidValueError: it is not JSON, of another schema, or a field is missing or of the wrong type.
        """
        try:
            data = json.loads(text)
        except json.JSONDecodeError as error:
            raise InvalidValueError(f"the tying is not JSON: {error}") from None
        if not isinstance(data, dict) or data.get("schema") != _SCHEMA or not isinstance(data.get("layers"), list):
            raise InvalidValueError(f"the tying must be an object with schema {_SCHEMA} and a list of layers")
        return cls(tuple(_layer_from(entry, number) for number, entry in enumerate(data["layers"])))


def _layer_from(entry: Any, number: int) -> LayerTying:
    wanted = {"name": str, "side": str, "row_length": int, "tied": bool, "labels": list}
    if not isinstance(entry, dict):
        raise InvalidValueError(f"layer {number} of the tying must be an object, got {type(entry).__name__}")
    for field, kind in wanted.items():
        if type(entry.get(field)) is not kind:
            raise InvalidValueError(f"layer {number} of the tying: {field} must be {kind.__name__}")
    if entry["side"] not in ("input", "output"):
        raise InvalidValueError(f"layer {entry['name']!r} of the tying: side must be 'input' or 'output'")
    if not all(type(label) is int for label in entry["labels"]):
        raise InvalidValueError(f"layer {entry['name']!r} of the tying: labels must be integers")
    partition = Partition(tuple(entry["labels"]))
    return LayerTying(entry["name"], partition, entry["row_length"], entry["side"], entry["tied"])


@torch.no_grad()
def find_tying(
    model: nn.Module,
    layers: Iterable[str] | None = None,
    *,
    preference: float = 0.8,
    overrides: Mapping[str, float] | None = None,
    max_ratio: float = 0.95,
    method: Literal["affinity", "exact", "ward", "none"] = "affinity",
    groups: int | float | Mapping[str, int | float] | None = None,
    side: Side = "input",
) -> Tying:
    """Identify the significant rows of every layer and the groups among them (the paper's stage (i)).

    Args:
        model: a trained network; not modified.
        layers: names or patterns, as for :class:`torch_growl.GrOWL`; ``growl.layers`` gives the penalised ones.
        preference: rows are tied to an exemplar only at similarity ≥ preference, in (0, 1]; the paper takes 0.6 for
            MNIST and 0.8 for VGG. Larger: fewer ties, less lost by tying.
        overrides: another preference for some layers, by name or pattern, later ones first; 1 ties equal rows only.
        max_ratio: a layer whose groups / nonzero rows exceeds this is left untied, for little would be shared (the
            paper: 0.95); 1 ties every layer.
        method: ``"affinity"``: affinity propagation on the row similarity; ``"exact"``: the proven best groups, for
            components of some hundred rows (:func:`torch_growl.cluster_rows`); ``"ward"``: the rows of likest direction
            are merged until ``groups`` are left, for tying in steps: merge a little, :func:`torch_growl.tie_`, retrain,
            :func:`torch_growl.untie_`, merge on; rows that are equal already stay so. ``"none"``: zero rows only.
        groups: with ``"ward"``: how many groups are left of a layer, a whole number ≥ 1, or as a share of its nonzero
            rows, below 1; or one for each layer, by name or pattern, later ones first. Layers without one are not tied.
        side: which side's rows are grouped.

    Raises:
        LayerError: an unknown or ineligible layer is named, or weights are NaN or infinite (the layer is named).
        InvalidValueError: ``preference``, ``max_ratio``, ``method`` or ``groups`` is not one that is allowed, or of
            ``"ward"`` and ``groups`` one is given without the other.
    """
    if not isinstance(model, nn.Module):
        raise InvalidTypeError(f"model must be a torch.nn.Module, got {type(model).__name__}")
    if method not in ("affinity", "exact", "ward", "none"):
        raise InvalidValueError(f"method must be 'affinity', 'exact', 'ward' or 'none', got {method!r}")
    if (method == "ward") != (groups is not None):
        raise InvalidValueError("method='ward' and groups= go together: it merges until so many groups are left")
    if not 0 < max_ratio <= 1:
        raise InvalidValueError(f"max_ratio must be in (0, 1], got {max_ratio}")
    for value in (preference, *(overrides or {}).values()):
        if not 0 < value <= 1:
            raise InvalidValueError(f"preference must be in (0, 1], got {value}")
    chosen = choose_layers(model, layers, side)
    preferences = {info.name: preference for info in chosen}
    for pattern, value in (overrides or {}).items():
        preferences.update((info.name, value) for info in matching(pattern, chosen))
    targets: dict[str, int | float] = {}
    for pattern, wanted in (groups if isinstance(groups, Mapping) else {} if groups is None else {"*": groups}).items():
        targets.update((info.name, _checked_groups(wanted)) for info in matching(pattern, chosen))
    found = []
    for info in chosen:
        W = rows_of(info.module, side)  # (n_rows, row_length)
        if not bool(torch.isfinite(W).all()):
            raise LayerError(f"layer {info.name!r} has NaN or infinite weights; it cannot be tied")
        if method == "none" or (method == "ward" and info.name not in targets):
            partition, tied = _untied(W), False
        elif method == "ward":
            partition, tied = merge_rows(W, _number_of_groups(targets[info.name], W)), True
        else:
            partition, tied = cluster_rows(W, preferences[info.name], method=method).partition, True
            if partition.n_groups > max_ratio * partition.nonzero:
                partition, tied = _untied(W), False
        found.append(LayerTying(info.name, partition, info.row_length, side, tied))
    return Tying(tuple(found))


def _checked_groups(wanted: Any) -> int | float:
    if isinstance(wanted, bool) or not isinstance(wanted, int | float):
        raise InvalidTypeError(f"groups must be a number, got {type(wanted).__name__}")
    if not (0 < wanted < 1 or (wanted >= 1 and wanted == int(wanted))):
        raise InvalidValueError(f"groups must be a whole number ≥ 1 or a share between 0 and 1, got {wanted}")
    return wanted


def _number_of_groups(wanted: int | float, W: torch.Tensor) -> int:
    nonzero = int((W != 0).any(dim=1).sum())
    return int(wanted) if wanted >= 1 else max(1, round(wanted * nonzero))


def _untied(W: torch.Tensor) -> Partition:
    """Every nonzero row alone."""
    zero = (W == 0).all(dim=1)
    return Partition.from_labels(torch.where(zero, PRUNED, torch.arange(len(W), device=W.device)))
