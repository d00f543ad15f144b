"""The tying of a network: for every layer, which rows are pruned and which share one value.

A :class:`Tying` is a plain value: made from a trained network by :func:`torch_growl.find_tying`, written as JSON,
enforced by :func:`torch_growl.tie_`. Its figures are the paper's (ICLR 2018, section 4), over the layers it holds:
sparsity = zero rows / rows, sharing = nonzero rows / distinct rows, compression = weights / distinct weights.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from torch_growl.arguments import check_choice, check_count
from torch_growl.checksums import parse_json
from torch_growl.errors import InvalidValueError, LayerError
from torch_growl.html_table import html_table
from torch_growl.mathematics.clustering import Partition
from torch_growl.networks.layers import Side

__all__ = ["LayerTying", "Tying"]

_SCHEMA = 1


@dataclass(frozen=True)
class LayerTying:
    """The tying of one layer.

    Attributes:
        name: the layer's dotted name.
        partition: its rows' labels.
        row_length: weights in a row.
        side: which side's rows they are.
        tied: False if the layer was left untied, for example because hardly any rows would have shared a value.
    """

    name: str
    partition: Partition
    row_length: int
    side: Side = "input"
    tied: bool = True

    @property
    def weights(self) -> int:
        """Weights of the layer, those of pruned rows included."""
        return self.partition.n_rows * self.row_length

    @property
    def distinct_weights(self) -> int:
        """Weights that remain to be stored: one row for each group."""
        return self.partition.n_groups * self.row_length

    @property
    def sparsity(self) -> float:
        """Pruned rows / rows, 0..1."""
        return 1 - self.partition.nonzero / max(self.partition.n_rows, 1)

    @property
    def sharing(self) -> float:
        """Nonzero rows / distinct nonzero rows, ≥ 1."""
        return self.partition.nonzero / max(self.partition.n_groups, 1)


@dataclass(frozen=True)
class Tying:
    """The tyings of some layers, in the network's order; indexed by a layer's name.

    A notebook shows it as a table.

    Raises:
        InvalidValueError: two entries name the same layer.

    Example:
        >>> import torch
        >>> import torch_growl as tg
        >>> model = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU(), torch.nn.Linear(3, 2))
        >>> model[0].weight.data = torch.tensor([[1.0, 1.0, 0.0, 2.0]]).expand(3, 4).clone()  # rows are its columns
        >>> tying = tg.find_tying(model, ["0"], preference=1.0)
        >>> tying.sparsity, tying.sharing, tying.compression()
        (0.25, 1.5, 2.0)
        >>> tying.counts()["layers"]
        {'0': {'rows': 4, 'nonzero': 3, 'distinct': 2}}
        >>> tg.Tying.from_json(tying.to_json()) == tying
        True
    """

    layers: tuple[LayerTying, ...]

    def __post_init__(self) -> None:
        seen: set[str] = set()
        for layer in self.layers:
            if layer.name in seen:
                raise InvalidValueError(
                    f"layer {layer.name!r} appears twice in the tying; tie one side of a layer at a time"
                )
            seen.add(layer.name)

    def __getitem__(self, name: str) -> LayerTying:
        for layer in self.layers:
            if layer.name == name:
                return layer
        raise LayerError(f"the tying has no layer {name!r}; it has {', '.join(layer.name for layer in self.layers)}")

    def __iter__(self) -> Iterator[LayerTying]:
        return iter(self.layers)

    def __len__(self) -> int:
        return len(self.layers)

    def _repr_html_(self) -> str:
        lines = [
            (
                layer.name,
                f"{layer.partition.n_rows:,}",
                f"{layer.partition.nonzero:,}",
                f"{layer.partition.n_groups:,}",
                f"{layer.sparsity:.1%}",
                f"{layer.sharing:.2f}",
                "" if layer.tied else "left untied",
            )
            for layer in self.layers
        ]
        titles = ("layer", "rows", "nonzero", "groups", "sparsity", "sharing", "")
        caption = f"sparsity {self.sparsity:.1%}, sharing {self.sharing:.2f}, compression {self.compression():.2f}x"
        return html_table(titles, lines, caption=caption, text_columns=(0, 6))

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
        total = sum(layer.weights for layer in self.layers)
        distinct = 0.0
        for layer, after in zip(self.layers, (*self.layers[1:], None), strict=True):
            kept = 1 - after.sparsity if chain and after is not None else 1.0
            distinct += layer.distinct_weights * kept
        return total / distinct if distinct else float("inf")

    def counts(self) -> dict[str, Any]:
        """Rows, nonzero and distinct rows by layer, and the compression, as plain data for a log.

        The compression is that of :meth:`compression`; finite also when no row is left, so that JSON can hold it.
        """
        layers = {
            layer.name: {
                "rows": layer.partition.n_rows,
                "nonzero": layer.partition.nonzero,
                "distinct": layer.partition.n_groups,
            }
            for layer in self.layers
        }
        total = sum(layer.weights for layer in self.layers)
        return {"layers": layers, "compression": total / max(sum(layer.distinct_weights for layer in self.layers), 1)}

    def records(self) -> list[dict[str, Any]]:
        """The layers in order with their rows, nonzero rows, groups and settings, as plain data for a result file."""
        return [
            {
                "name": layer.name,
                "rows": layer.partition.n_rows,
                "nonzero": layer.partition.nonzero,
                "groups": layer.partition.n_groups,
                "row_length": layer.row_length,
                "side": layer.side,
                "tied": layer.tied,
            }
            for layer in self.layers
        ]

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
    def from_json(cls, text: str | bytes) -> Tying:
        """Read a tying from the JSON text that :meth:`to_json` writes.

        Raises:
            InvalidValueError: the text is not JSON or of another schema, a field is missing or has a wrong value, or
                the text holds a checksum ``crc32`` that is not its own.
        """
        data = parse_json(text, "the tying")
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
    check_choice(f"layer {entry['name']!r} of the tying: side", entry["side"], ("input", "output"))
    check_count(f"layer {entry['name']!r} of the tying: row_length", entry["row_length"])
    if not entry["labels"] or not all(type(label) is int for label in entry["labels"]):
        raise InvalidValueError(f"layer {entry['name']!r} of the tying: labels must be integers, one for each row")
    partition = Partition(tuple(entry["labels"]))
    return LayerTying(entry["name"], partition, entry["row_length"], entry["side"], entry["tied"])
