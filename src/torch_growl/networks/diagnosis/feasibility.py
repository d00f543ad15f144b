"""The least and the most that can be left of a network in every measure, and the layers that hold the least."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import nn

from torch_growl.errors import GrowlError, GrowlWarning, first_line
from torch_growl.networks.compaction import compact
from torch_growl.networks.diagnosis.layer_diagnosis import LayerDiagnosis
from torch_growl.networks.measurement import compare_latency
from torch_growl.networks.targets import Counter, FileSize, Left, RowsOf, all_but_least, as_text, without_rows

__all__ = ["Feasibility", "feasibility_of"]

_MOST_HOLDERS, _LEAST_SHARE = 3, 0.05


@dataclass(frozen=True)
class Reach:
    """A measure with the least and the most that can be left in it.

    Attributes:
        of: the measure, as :class:`torch_growl.Target` names it.
        least: the least that a target can ask for.
        dense: the dense network's, which a target must be below.
    """

    of: str
    least: float
    dense: float


@dataclass(frozen=True)
class Holder:
    """A layer that holds a large part of the least that can be left.

    Attributes:
        layer: its name.
        weight_share: its share of the weights of the smallest network, in [0, 1].
        mac_share: its share of the multiply-adds, in [0, 1].
        reason: why it holds them.
    """

    layer: str
    weight_share: float
    mac_share: float
    reason: str


@dataclass(frozen=True)
class Feasibility:
    """The figures that a target of a network can ask for.

    Attributes:
        measures: the least and the most in every measure; empty if it is not known.
        holders: the layers that hold most of the least, the largest first.
        min_rows: the rows that stay in every penalised layer.
        obstacle: why nothing is known; otherwise empty.
    """

    measures: tuple[Reach, ...] = ()
    holders: tuple[Holder, ...] = ()
    min_rows: int = 4
    obstacle: str = ""

    def lines(self) -> list[str]:
        """The table, and a sentence for each holder."""
        return self.table() + [
            f"{holder.layer or '(root)'} holds {holder.weight_share:.0%} of the least weights and "
            f"{holder.mac_share:.0%} of the least MACs: {holder.reason}"
            for holder in self.holders
        ]

    def table(self) -> list[str]:
        """The lines of the table, each of at most 80 columns."""
        if self.obstacle:
            return [f"What can be left is not known: {self.obstacle}"]
        rows = [
            (each.of, as_text(each.of, each.least), f"({each.least / each.dense:.1%})", as_text(each.of, each.dense))
            for each in self.measures
        ]
        titles = ("can be left", "at least", "", "at most, below")
        widths = [max(len(row[column]) for row in (titles, *rows)) for column in range(4)]
        return [
            f"{of:<{widths[0]}}  {least:>{widths[1]}}  {share:>{widths[2]}}  {dense:>{widths[3]}}"
            for of, least, share, dense in (titles, *rows)
        ]


def feasibility_of(
    network: nn.Module,
    example_inputs: Any,
    layers: Sequence[LayerDiagnosis],
    pressed: Sequence[str],
    *,
    min_rows: int,
    latency: bool,
) -> Feasibility:
    """Find the least and the most that can be left of a network.

    Args:
        network: a plain copy in eval mode; not modified.
        example_inputs: a tensor, a tuple of positional inputs or a dict of named ones.
        layers: the diagnoses of its layers.
        pressed: the names of the layers whose rows a target removes.
        min_rows: the rows that stay in every penalised layer.
        latency: whether the dense and the smallest network are timed.
    """
    rows = [
        RowsOf(layer.name, network.get_submodule(layer.name), np.ones(layer.n_rows), min_rows)
        for layer in layers
        if layer.name in pressed
    ]
    if not rows:
        return Feasibility(min_rows=min_rows, obstacle="no layer is penalised")
    try:
        counter = Counter(network, example_inputs)
        gone = dict(zip((own.name for own in rows), all_but_least(rows, counter.wiring), strict=True))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", GrowlWarning)  # that nothing can be removed is seen in the figures
            small = compact(without_rows(network, gone), example_inputs)
    except GrowlError as error:
        return Feasibility(min_rows=min_rows, obstacle=first_line(error))
    least, dense = counter.left(gone), counter.dense
    found = [Reach(of, getattr(least, of), getattr(dense, of)) for of in ("weights", "macs", "bytes")]
    file = FileSize(network, None)
    found.append(Reach("file_bytes", file.measured(small), file.whole))
    if latency:
        (times,) = compare_latency(network, small, example_inputs, batch_sizes=(1,), runtimes=("eager",), repeats=50)
        if times.dense_ms is not None and times.compact_ms is not None:
            found.append(Reach("latency_ms", times.compact_ms, times.dense_ms))
    return Feasibility(tuple(found), _holders(least, layers, pressed, min_rows), min_rows)


def _holders(
    least: Left, layers: Sequence[LayerDiagnosis], pressed: Sequence[str], min_rows: int
) -> tuple[Holder, ...]:
    held = []
    for layer in layers:
        own = least.layers.get(layer.name)
        weights, macs = (layer.weights, layer.macs) if own is None else (own.weights, own.macs)
        stay = f"{min_rows} rows stay, for all outputs that others need"
        reason = stay if layer.name in pressed else layer.reason
        held.append(Holder(layer.name, weights / max(least.weights, 1), macs / max(least.macs, 1), reason))
    held.sort(key=lambda holder: -max(holder.weight_share, holder.mac_share))
    large = [holder for holder in held if max(holder.weight_share, holder.mac_share) >= _LEAST_SHARE]
    return tuple(large[:_MOST_HOLDERS])
