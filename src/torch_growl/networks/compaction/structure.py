"""The structure of a compact network as a plain value: for every layer, what was summed, dropped and cut.

Compaction finds a structure, :mod:`torch_growl.networks.compaction.shrinking` carries it out, the file stores it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from torch import nn

from torch_growl.errors import InvalidValueError
from torch_growl.mathematics.clustering import PRUNED

__all__ = [
    "SIZES_OF_PARAMETERS",
    "AttributeChange",
    "Form",
    "LayerCut",
    "ParameterCut",
    "Structure",
    "record_",
    "recorded",
    "structure_of",
]

Form = Literal["full", "local", "none"]
RECORD = "_growl_structure"
# What modules of torch that are no layers call the size of their parameters.
SIZES_OF_PARAMETERS = ("num_features", "num_channels", "num_parameters", "embedding_dim")


@dataclass(frozen=True)
class LayerCut:
    """What became of one layer.

    Attributes:
        name: its dotted name.
        inputs: rows before.
        outputs: output channels before.
        groups: its number of groups (1 for all but grouped convolutions).
        labels: for every input that still arrives, the input of the smaller layer it is added to, or −1 where it is
            dropped; None: they are read as they come.
        width: inputs of the smaller layer. An input that no label names is fed by its group's first, with zero weights.
        kept: the output channels that are left; None: all.
        arriving: the inputs that still arrive, in order, where those before were cut; None: all.
        groups_left: its number of groups after whole ones were cut; None: all.
        shares: the layer before it that reads the same tensor and selects or sums the same of it; None: none does.
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
    arriving: tuple[int, ...] | None = None
    groups_left: int | None = None
    shares: str | None = None
    form: Form = "none"
    reason: str = ""

    @property
    def outputs_left(self) -> int:
        """Output channels after."""
        return self.outputs if self.kept is None else len(self.kept)

    @property
    def groups_after(self) -> int:
        """Groups after."""
        return self.groups if self.groups_left is None else self.groups_left

    @property
    def changed(self) -> bool:
        """Whether the layer is another one than before."""
        return self.width != self.inputs or self.kept is not None

    @property
    def arrivals(self) -> Sequence[int]:
        """The inputs that still arrive, as original numbers."""
        return range(self.inputs) if self.arriving is None else self.arriving

    @property
    def slots(self) -> list[list[int]]:
        """For every input of the smaller layer, the original inputs it sums; an empty list is padding."""
        if self.labels is None:
            return [[index] for index in self.arrivals]
        slots: list[list[int]] = [[] for _ in range(self.width)]
        for index, label in zip(self.arrivals, self.labels, strict=True):
            if label != PRUNED:
                slots[label].append(index)
        return slots


@dataclass(frozen=True)
class ParameterCut:
    """Parameters and buffers of a module that is no layer (a normalisation, an embedding) whose channels were cut.

    Attributes:
        module: its dotted name.
        names: the parameters and buffers, all of the same size along the dimension.
        dim: the dimension.
        size: how many entries it had.
        kept: those that are left.
    """

    module: str
    names: tuple[str, ...]
    dim: int
    size: int
    kept: tuple[int, ...]


@dataclass(frozen=True)
class AttributeChange:
    """A number that a module keeps about sizes that were cut: heads, groups, features."""

    module: str
    name: str
    before: int
    after: int


@dataclass(frozen=True)
class Structure:
    """How a compact network follows from the dense one; a plain value that survives copying and pickling."""

    layers: tuple[LayerCut, ...]
    parameters: tuple[ParameterCut, ...] = ()
    attributes: tuple[AttributeChange, ...] = ()

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
