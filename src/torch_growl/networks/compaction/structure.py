"""The structure of a compact network as a plain value: the inputs summed and removed, the outputs removed, per layer.

Planning finds a structure, :mod:`torch_growl.networks.compaction.shrinking` applies it, the compact file stores it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from torch import nn

from torch_growl.errors import InvalidValueError
from torch_growl.html_table import html_table
from torch_growl.mathematics.clustering import PRUNED
from torch_growl.networks.layers import kind_of, registered_kind, warn_on_save_pretrained_

__all__ = [
    "SIZES_OF_PARAMETERS",
    "AttributeChange",
    "Form",
    "LayerCut",
    "ModuleCut",
    "ParameterCut",
    "Structure",
    "has_added_bias",
    "mark_added_bias_",
    "misfit",
    "record_",
    "recorded",
    "structure_of",
]

_ADDED_BIAS = "_growl_added_bias"  # attribute of a layer of an expanded network
_PRETRAINED = (
    "the layers of a compact network have other sizes than its class makes, so from_pretrained does not load what "
    "save_pretrained writes; use torch_growl.integrations.transformers.save_pretrained(small, folder) and its "
    "from_pretrained(folder), or torch_growl.save(small, path) and load(path, model), or for the original sizes "
    "load_dense(path, model).save_pretrained(folder)"
)
Form = Literal["full", "local", "none"]
RECORD = "_growl_structure"
# The attributes in which modules of torch that are not layers keep the size of their parameters.
SIZES_OF_PARAMETERS = ("num_features", "num_channels", "num_parameters", "embedding_dim")


@dataclass(frozen=True)
class LayerCut:
    """The changes of one layer.

    Attributes:
        name: its dotted name.
        inputs: number of inputs (rows) before.
        outputs: number of output channels before.
        groups: number of groups before (1 for all but grouped convolutions).
        labels: for every arriving input, the input of the smaller layer that it is added to, or −1 if it is removed;
            None: the arriving inputs are read unchanged.
        width: number of inputs of the smaller layer. An input that no label names reads the first arriving input of its
            group, with zero weights.
        kept: the output channels that are kept; None: all.
        arriving: the inputs whose channels are still made by the layer before, in order; None: all.
        groups_left: number of groups after whole groups were removed; None: all.
        folded: number of constant inputs whose effect was added to the bias.
        bias_added: whether the layer had no bias before.
        shares: an earlier layer that reads the same tensor with the same selection or sums; None: there is none.
        form: ``"full"``: channels were removed at its inputs or outputs; ``"local"``: only its own inputs are selected
            or summed; ``"none"``: unchanged.
        reason: why no more was removed; empty if nothing more could be removed.
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
    folded: int = 0
    bias_added: bool = False
    shares: str | None = None
    form: Form = "none"
    reason: str = ""

    @property
    def outputs_left(self) -> int:
        """The number of output channels after."""
        return self.outputs if self.kept is None else len(self.kept)

    @property
    def groups_after(self) -> int:
        """The number of groups after."""
        return self.groups if self.groups_left is None else self.groups_left

    @property
    def changed(self) -> bool:
        """Tell whether the layer is replaced by another one."""
        return self.width != self.inputs or self.kept is not None

    @property
    def arrivals(self) -> Sequence[int]:
        """The arriving inputs, by their original numbers."""
        return range(self.inputs) if self.arriving is None else self.arriving

    @property
    def slots(self) -> list[list[int]]:
        """The original inputs that each input of the smaller layer sums; an empty list is padding."""
        if self.labels is None:
            return [[index] for index in self.arrivals]
        slots: list[list[int]] = [[] for _ in range(self.width)]
        for index, label in zip(self.arrivals, self.labels, strict=True):
            if label != PRUNED:
                slots[label].append(index)
        return slots


@dataclass(frozen=True)
class ParameterCut:
    """The channels removed from parameters and buffers of a module that is not a layer (a normalisation, an embedding).

    Attributes:
        module: its dotted name.
        names: the parameters and buffers, all of the same size along the dimension.
        dim: the dimension of the channels.
        size: number of entries along it before.
        kept: the entries that are kept.
    """

    module: str
    names: tuple[str, ...]
    dim: int
    size: int
    kept: tuple[int, ...]


@dataclass(frozen=True)
class AttributeChange:
    """A changed attribute of a module that holds a size: its number of heads, groups or features."""

    module: str
    name: str
    before: int
    after: int


@dataclass(frozen=True)
class ModuleCut:
    """The channels removed around a module without parameters that pads or slices channels by number.

    The module itself stays as it is: it is given all of its inputs, zeros in place of the removed ones, and of its
    outputs those that are kept are selected.

    Attributes:
        module: its dotted name.
        dim: the dimension of the channels in its input and its output, counted from the end.
        inputs: number of channels that it reads.
        outputs: number of channels that it makes.
        arriving: the inputs whose channels are still made; None: all.
        kept: the outputs that are kept; None: all.
    """

    module: str
    dim: int
    inputs: int
    outputs: int
    arriving: tuple[int, ...] | None = None
    kept: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Structure:
    """All differences between a compact network and its dense original; survives copying and pickling.

    ``str()`` shows it as a table, and so does a notebook.
    """

    layers: tuple[LayerCut, ...]
    parameters: tuple[ParameterCut, ...] = ()
    attributes: tuple[AttributeChange, ...] = ()
    modules: tuple[ModuleCut, ...] = ()

    def __deepcopy__(self, memo: dict[int, Any]) -> Structure:
        """It is immutable."""
        return self

    def to_records(self) -> list[dict[str, Any]]:
        """One dict for each layer: name, form, rows and outputs before and after, and the reason."""
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
        lines = [("layer", "form", "rows", "outputs", "reason"), *self._lines()]
        shown = [
            f"{name:<28} {form:<6} {rows:>13} {outputs:>13}  {reason}" for name, form, rows, outputs, reason in lines
        ]
        return "\n".join(line.rstrip() for line in shown)

    def _repr_html_(self) -> str:
        changed = sum(layer.changed for layer in self.layers)
        caption = f"{changed:,} of {len(self.layers):,} layers changed"
        return html_table(
            ("layer", "form", "rows", "outputs", "reason"), self._lines(), caption=caption, text_columns=(0, 1, 4)
        )

    def _lines(self) -> list[tuple[str, ...]]:
        return [
            (cut.name, cut.form, f"{cut.inputs} → {cut.width}", f"{cut.outputs} → {cut.outputs_left}", cut.reason)
            for cut in self.layers
        ]


def structure_of(small: nn.Module) -> Structure:
    """Return the structure of a network made by ``compact`` or ``load``; ``str()`` shows it as a table.

    Raises:
        InvalidValueError: the network was made by neither.

    Example:
        >>> import torch
        >>> import torch_growl as tg
        >>> model = torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
        >>> with torch.no_grad():
        ...     model[2].weight[:, :3] = 0
        >>> structure = tg.structure_of(tg.compact(model, torch.randn(3, 6)))
        >>> [(layer.name, layer.form, layer.outputs_left, layer.width) for layer in structure.layers]
        [('0', 'full', 5, 6), ('2', 'full', 2, 5)]
    """
    found = recorded(small)
    if found is None:
        raise InvalidValueError("the network has no structure record: it was not made by compact() or load()")
    return found


def recorded(model: nn.Module) -> Structure | None:
    """The structure of a compact network; None for other networks."""
    found = getattr(model, RECORD, None)
    return found if isinstance(found, Structure) else None


def record_(model: nn.Module, found: Structure) -> nn.Module:
    """Attach a structure to a network and return the network."""
    setattr(model, RECORD, found)
    if any(layer.changed for layer in found.layers):
        warn_on_save_pretrained_(model, _PRETRAINED)
    return model


def misfit(model: nn.Module, plan: Structure) -> tuple[LayerCut, tuple[int, int] | None] | None:
    """Find a layer that a dense network has not as a structure says, with its inputs and outputs; None: it lacks it.

    Args:
        model: the network, whose attentions of torch call their output projections.
        plan: the structure.
    """
    modules = dict(model.named_modules())
    for layer in plan.layers:
        module = modules.get(layer.name)
        if module is None or kind_of(module) is None:
            return layer, None
        inputs, outputs = registered_kind(module).sizes(module)[:2]
        if (inputs, outputs) != (layer.inputs, layer.outputs):
            return layer, (inputs, outputs)
    return None


def mark_added_bias_(layer: nn.Module) -> None:
    """Note at a layer of a dense network that the original one has no bias there."""
    setattr(layer, _ADDED_BIAS, True)


def has_added_bias(layer: nn.Module) -> bool:
    """Tell whether the original network has no bias where this layer has one."""
    return bool(getattr(layer, _ADDED_BIAS, False))
