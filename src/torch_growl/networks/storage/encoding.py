"""Encoding a structure as JSON text and packed bits; see docs/format.md."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from torch_growl.networks.compaction import SIZES_OF_PARAMETERS, AttributeChange, ParameterCut, Structure
from torch_growl.networks.storage.bit_packing import encode_labels, encode_set

__all__ = ["LABELS", "NORM_NAMES", "OPTIONAL", "REQUIRED", "SET", "encode", "implied_changes", "packed_bytes"]

LABELS, SET = "growl.labels.", "growl.set."  # the tensors' names, before a number
NORM_NAMES = ("weight", "bias", "running_mean", "running_var")  # of an entry of the parameters without names
REQUIRED = {"name", "inputs", "outputs", "width"}
# The defaults. A new field of LayerCut gets a line here, one in docs/format.md, and a new minor version.
OPTIONAL = {
    "groups": 1,
    "form": "none",
    "reason": "",
    "groups_left": None,
    "shares": None,
    "folded": 0,
    "bias_added": False,
}


def encode(structure: Structure) -> tuple[str, dict[str, Tensor]]:
    """Return the structure's JSON text, and its sets and labels as tensors by name."""
    tensors: dict[str, Tensor] = {}
    sets: dict[tuple[tuple[int, ...], int], int] = {}

    def numbered(members: tuple[int, ...], total: int) -> int:
        """Store each set once: a layer, its normalisation and its readers often keep the same channels."""
        number = sets.setdefault((members, total), len(sets))
        tensors.setdefault(f"{SET}{number}", encode_set(members, total))
        return number

    layers = []
    for number, layer in enumerate(structure.layers):
        entry = {key: getattr(layer, key) for key in ("name", "inputs", "outputs", "width")}
        entry |= {key: value for key, usual in OPTIONAL.items() if (value := getattr(layer, key)) != usual}
        if layer.arriving is not None:
            entry["arriving"] = numbered(layer.arriving, layer.inputs)
        if layer.kept is not None:
            entry["kept"] = numbered(layer.kept, layer.outputs)
        if layer.labels is not None:
            tensors[f"{LABELS}{number}"] = encode_labels(layer.labels, layer.width, layer.groups_after)
        layers.append(entry)
    parameters = []
    for cut in structure.parameters:
        entry = {"module": cut.module, "size": cut.size, "kept": numbered(cut.kept, cut.size)}
        if cut.names != NORM_NAMES:
            entry["names"] = list(cut.names)
        if cut.dim:
            entry["dim"] = cut.dim
        parameters.append(entry)
    attributes = [
        {"module": change.module, "name": change.name, "before": change.before, "after": change.after}
        for change in structure.attributes
        if change not in implied_changes(structure.parameters, {change.module: {change.name: change.before}})
    ]
    whole = {"layers": layers, "parameters": parameters, "attributes": attributes}
    modules = []
    for around in structure.modules:
        entry = {key: getattr(around, key) for key in ("module", "dim", "inputs", "outputs")}
        if around.arriving is not None:
            entry["arriving"] = numbered(around.arriving, around.inputs)
        if around.kept is not None:
            entry["kept"] = numbered(around.kept, around.outputs)
        modules.append(entry)
    if modules:
        whole["modules"] = modules
    return json.dumps(whole, ensure_ascii=False, separators=(",", ":")), tensors


def packed_bytes(structure: Structure) -> int:
    """Return the bytes of the structure's sets and labels in the compact file: indices at their stored width."""
    return sum(tensor.numel() * tensor.element_size() for tensor in encode(structure)[1].values())


def implied_changes(
    parameters: tuple[ParameterCut, ...], held: Mapping[str, Mapping[str, Any]]
) -> tuple[AttributeChange, ...]:
    """Return the changes of sizes that follow from cut parameters, which the file does not list.

    Args:
        parameters: the cut parameters.
        held: the integer attributes of each module of the dense network, by the module's name.
    """
    return tuple(
        AttributeChange(cut.module, name, cut.size, len(cut.kept))
        for cut in parameters
        for name in SIZES_OF_PARAMETERS
        if held.get(cut.module, {}).get(name) == cut.size
    )
