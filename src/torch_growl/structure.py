"""The structure of a compact network as a plain value: for every layer, what was summed, dropped and cut.

Compaction finds a structure, :mod:`torch_growl.rewriting` carries it out, the file stores it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from torch import nn

from torch_growl.errors import InvalidValueError
from torch_growl.partition import PRUNED

__all__ = ["Form", "LayerCut", "NormCut", "Structure", "record_", "recorded", "structure_of"]

Form = Literal["full", "local", "none"]
RECORD = "_growl_structure"


@dataclass(frozen=True)
class LayerCut:
    """What became of one layer.

    Attributes:
        name: its dotted name.
        inputs: rows before.
        outputs: output channels before.
        groups: its number of groups (1 for all but grouped convolutions).
        labels: for every input that still arrives (see ``source``), the input of the smaller layer it is added to, or
            −1 where it is dropped; None: they are read as they come.
        width: inputs of the smaller layer. An input that no label names is fed by its group's first, with zero weights.
        kept: the output channels that are left; None: all.
        source: the layer whose output channels were cut before this layer; None: all inputs arrive.
        block: how many inputs of this layer each output channel of ``source`` makes (more than 1 after a flatten).
        form: ``"full"``: it also took part in a removal of channels; ``"local"``: only its own inputs are selected or
            summed; ``"none"``: as it was.
        reason: why it is not cut further; empty when nothing more could go.
    """

    name: str
    inputs: int
    outputs: int
    groups: int = 1
    labels: tuple[int, ...] | None = None
    width: int = 0
    kept: tuple[int, ...] | None = None
    source: str | None = None
    block: int = 1
    form: Form = "none"
    reason: str = ""

    @property
    def outputs_left(self) -> int:
        """Output channels after."""
        return self.outputs if self.kept is None else len(self.kept)

    @property
    def changed(self) -> bool:
        """Whether the layer is another one than before."""
        return self.width != self.inputs or self.kept is not None


@dataclass(frozen=True)
class NormCut:
    """A normalisation between a cut layer and its readers: its features went with the channels of ``source``."""

    name: str
    features: int
    source: str
    block: int = 1


@dataclass(frozen=True)
class Structure:
    """How a compact network follows from the dense one; a plain value that survives copying and pickling."""

    layers: tuple[LayerCut, ...]
    norms: tuple[NormCut, ...] = ()

    @cached_property
    def _by_name(self) -> dict[str, LayerCut]:
        return {layer.name: layer for layer in self.layers}

    def arriving(self, source: str | None, block: int, total: int) -> list[int]:
        """Which of ``total`` inputs (or features) still arrive after ``source`` was cut, as original numbers."""
        kept = self._by_name[source].kept if source is not None else None
        if kept is None:
            return list(range(total))
        return [channel * block + offset for channel in kept for offset in range(block)]

    def slots(self, layer: LayerCut) -> list[list[int]]:
        """For every input of the smaller layer, the original inputs it sums; an empty list is padding."""
        arriving = self.arriving(layer.source, layer.block, layer.inputs)
        if layer.labels is None:
            return [[index] for index in arriving]
        slots: list[list[int]] = [[] for _ in range(layer.width)]
        for index, label in zip(arriving, layer.labels, strict=True):
            if label != PRUNED:
                slots[label].append(index)
        return slots

    def to_records(self) -> list[dict[str, Any]]:
        """The report's list of cuts: layer, form, rows and outputs before and after, and the reason."""
        return [
            {
                "layer": layer.name,
                "form": layer.form,
                "rows": [layer.inputs, layer.width],
                "outputs": [layer.outputs, layer.outputs_left],
                "reason": layer.reason,
            }
            for layer in self.layers
        ]

    def __str__(self) -> str:
        lines = [f"{'layer':<28} {'form':<6} {'rows':>13} {'outputs':>13}  reason"]
        for record in self.to_records():
            rows, outputs = (f"{before} → {after}" for before, after in (record["rows"], record["outputs"]))
            lines.append(f"{record['layer']:<28} {record['form']:<6} {rows:>13} {outputs:>13}  {record['reason']}")
        return "\n".join(line.rstrip() for line in lines)


def structure_of(small: nn.Module) -> Structure:
    """The record of how a network made by ``compact`` or ``load`` follows from its dense original.

    Raises:
        InvalidValueError: the network was made by neither.
    """
    found = recorded(small)
    if found is None:
        raise InvalidValueError("the network has no structure record: it was not made by compact() or load()")
    return found


def recorded(model: nn.Module) -> Structure | None:
    """The network's record, if it has one."""
    found = getattr(model, RECORD, None)
    return found if isinstance(found, Structure) else None


def record_(model: nn.Module, found: Structure) -> nn.Module:
    """Attach the record."""
    setattr(model, RECORD, found)
    return model
