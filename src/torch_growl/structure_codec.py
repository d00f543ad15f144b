"""A structure as JSON text and small integer tensors, and back: every field is checked against the dense network."""

from __future__ import annotations

import json
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from torch_growl.channelwise import NORMS
from torch_growl.errors import FileFormatError
from torch_growl.layers import LayerKind, kind_of
from torch_growl.partition import PRUNED
from torch_growl.structure import LayerCut, NormCut, Structure

__all__ = ["STRUCTURE", "decode", "encode"]

STRUCTURE = "structure"
_LABELS, _KEPT = "growl.labels.", "growl.kept."
_FORMS = ("full", "local", "none")
_WIDTHS = ((torch.uint8, 2**8), (torch.int16, 2**15), (torch.int32, 2**31))


def encode(structure: Structure) -> tuple[str, dict[str, Tensor]]:
    """The structure's text and tensors.

    Labels are stored plus one (0: dropped) in the smallest of uint8, int16, int32; kept output channels as a bit mask,
    bit c % 8 of byte c // 8.
    """
    tensors: dict[str, Tensor] = {}
    layers = []
    for number, layer in enumerate(structure.layers):
        entry: dict[str, Any] = {"name": layer.name, "inputs": layer.inputs, "outputs": layer.outputs}
        entry |= {"groups": layer.groups, "width": layer.width, "form": layer.form, "reason": layer.reason}
        if layer.source is not None:
            entry |= {"source": layer.source, "block": layer.block}
        if layer.labels is not None:
            dtype = next(dtype for dtype, limit in _WIDTHS if layer.width < limit)
            tensors[f"{_LABELS}{number}"] = (torch.tensor(layer.labels) + 1).to(dtype)
        if layer.kept is not None:
            mask = np.zeros(layer.outputs, dtype=bool)
            mask[list(layer.kept)] = True
            tensors[f"{_KEPT}{number}"] = torch.from_numpy(np.packbits(mask, bitorder="little"))
        layers.append(entry)
    norms = [
        {"name": norm.name, "features": norm.features, "source": norm.source, "block": norm.block}
        for norm in structure.norms
    ]
    return json.dumps({"layers": layers, "norms": norms}, ensure_ascii=False, separators=(",", ":")), tensors


def decode(text: str, tensors: dict[str, Tensor], dense: nn.Module) -> Structure:
    """The structure in a file.

    Args:
        text: the header's structure.
        tensors: the file's tensors; the structure's own are taken out.
        dense: the network it is for; not modified.

    Raises:
        FileFormatError: it is malformed, or does not fit the network.
    """
    try:
        data = json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        raise FileFormatError(f"the structure is not JSON: {error}") from None
    if not isinstance(data, dict) or set(data) != {"layers", "norms"}:
        raise FileFormatError("the structure must be an object with the fields layers and norms")
    modules = dict(dense.named_modules())
    entries = _objects(data["layers"], "layers")
    layers: dict[str, LayerCut] = {}
    for number, entry in enumerate(entries):
        layer = _layer(entry, number, modules, tensors)
        if layer.name in layers:
            raise FileFormatError(f"layer {layer.name!r} is in the structure twice")
        layers[layer.name] = layer
    for layer in layers.values():
        _check_source(f"layer {layer.name!r}", layer.source, layer.block, layer.inputs, layers)
        _check_labels(layer, layers)
    norms = tuple(_norm(entry, modules, layers) for entry in _objects(data["norms"], "norms"))
    if len({norm.name for norm in norms}) != len(norms):
        raise FileFormatError("a normalisation is in the structure twice")
    return Structure(tuple(layers.values()), norms)


def _objects(value: Any, what: str) -> list[dict[str, Any]]:
    if not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
        raise FileFormatError(f"the structure's {what} must be a list of objects")
    return value


def _field(entry: dict[str, Any], field: str, kind: type, where: str, default: Any = None) -> Any:
    value = entry.get(field, default)
    if type(value) is not kind:
        raise FileFormatError(f"{where}: {field} must be {kind.__name__}, got {value!r:.50}")
    return value


def _layer(entry: dict[str, Any], number: int, modules: dict[str, nn.Module], tensors: dict[str, Tensor]) -> LayerCut:
    name = _field(entry, "name", str, f"layer {number} of the structure")
    where = f"layer {name!r}"
    unknown = set(entry) - {"name", "inputs", "outputs", "groups", "width", "form", "reason", "source", "block"}
    if unknown:
        raise FileFormatError(f"{where} of the structure has unknown fields {sorted(unknown)}")
    numbers = {f: _field(entry, f, int, where) for f in ("inputs", "outputs", "groups", "width")}
    form, reason = _field(entry, "form", str, where), _field(entry, "reason", str, where)
    if form not in _FORMS:
        raise FileFormatError(f"{where}: form must be one of {', '.join(_FORMS)}, got {form!r:.50}")
    module = modules.get(name)
    kind = None if module is None else kind_of(module)
    if module is None or kind is None:
        raise FileFormatError(f"{where} of the file is not a layer of this network")
    found = _shape(module, kind)
    expected = (numbers["inputs"], numbers["outputs"], numbers["groups"])
    if found != expected:
        raise FileFormatError(
            f"{where}: the file is for (inputs, outputs, groups) {expected}, this network's layer has {found}"
        )
    labels = tensors.pop(f"{_LABELS}{number}", None)
    kept = tensors.pop(f"{_KEPT}{number}", None)
    return LayerCut(
        name,
        *expected,
        labels=None if labels is None else _labels(labels, where),
        width=numbers["width"],
        kept=None if kept is None else _kept(kept, numbers["outputs"], numbers["groups"], where),
        source=_field(entry, "source", str, where) if "source" in entry else None,
        block=_field(entry, "block", int, where, 1),
        form=form,
        reason=reason,
    )


def _shape(module: nn.Module, kind: LayerKind) -> tuple[int, int, int]:
    weight = cast(Tensor, module.weight)
    inputs, outputs = (kind.blocks(module, weight, "input"), kind.blocks(module, weight, "output"))
    return inputs.shape[0] * inputs.shape[1], outputs.shape[0] * outputs.shape[1], kind.groups(module)


def _labels(stored: Tensor, where: str) -> tuple[int, ...]:
    if stored.ndim != 1 or stored.dtype not in [dtype for dtype, _ in _WIDTHS]:
        raise FileFormatError(f"{where}: labels must be a list of uint8, int16 or int32, got {stored.dtype}")
    return tuple((stored.to(torch.int64) - 1).tolist())


def _kept(stored: Tensor, outputs: int, groups: int, where: str) -> tuple[int, ...]:
    if groups != 1:
        raise FileFormatError(f"{where}: output channels of a grouped layer cannot have been cut")
    if stored.dtype != torch.uint8 or stored.shape != ((outputs + 7) // 8,):
        raise FileFormatError(f"{where}: the mask of kept outputs must be {(outputs + 7) // 8} bytes")
    bits = np.unpackbits(stored.numpy(), bitorder="little")
    kept = tuple(np.flatnonzero(bits).tolist())
    if not kept or kept[-1] >= outputs:
        raise FileFormatError(f"{where}: the mask of kept outputs is empty or names more than {outputs}")
    return kept


def _check_source(where: str, source: str | None, block: int, total: int, layers: dict[str, LayerCut]) -> None:
    if source is None:
        if block != 1:
            raise FileFormatError(f"{where}: block must be 1 without a source, got {block}")
        return
    made = layers.get(source)
    if made is None or made.kept is None:
        raise FileFormatError(f"{where}: its source {source!r} has no output channels removed")
    if made.outputs * block != total:
        raise FileFormatError(
            f"{where}: {made.outputs} channels of {source!r} × block {block} are not its {total} inputs"
        )


def _check_labels(layer: LayerCut, layers: dict[str, LayerCut]) -> None:
    where = f"layer {layer.name!r}"
    arriving = layer.inputs
    if layer.source is not None:
        if layer.groups != 1:
            raise FileFormatError(f"{where}: a grouped layer cannot read removed channels")
        arriving = len(layers[layer.source].kept or ()) * layer.block
    if layer.labels is None:
        if layer.width != arriving:
            raise FileFormatError(
                f"{where}: {arriving} inputs arrive, but its width is {layer.width} and it has no labels"
            )
        return
    if len(layer.labels) != arriving:
        raise FileFormatError(f"{where}: {arriving} inputs arrive, but it has {len(layer.labels)} labels")
    if not 1 <= layer.width <= arriving or layer.width % layer.groups:
        raise FileFormatError(
            f"{where}: width must be 1..{arriving} and a multiple of {layer.groups}, got {layer.width}"
        )
    per_group, width = arriving // layer.groups, layer.width // layer.groups
    for place, label in enumerate(layer.labels):
        if label != PRUNED and not (0 <= label < layer.width and label // width == place // per_group):
            raise FileFormatError(f"{where}: input {place} has label {label}, outside its group's inputs")


def _norm(entry: dict[str, Any], modules: dict[str, nn.Module], layers: dict[str, LayerCut]) -> NormCut:
    name = _field(entry, "name", str, "a normalisation of the structure")
    where = f"normalisation {name!r}"
    if set(entry) != {"name", "features", "source", "block"}:
        raise FileFormatError(f"{where} must have the fields name, features, source, block")
    features, block = _field(entry, "features", int, where), _field(entry, "block", int, where)
    source = _field(entry, "source", str, where)
    module: Any = modules.get(name)
    if type(module) not in NORMS:
        raise FileFormatError(f"{where} of the file is not a normalisation of this network")
    if module.num_features != features:
        raise FileFormatError(f"{where}: the file is for {features} features, this network's has {module.num_features}")
    _check_source(where, source, block, features, layers)
    return NormCut(name, features, source, block)
