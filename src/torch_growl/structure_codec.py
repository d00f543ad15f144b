"""A structure as JSON text and small integer tensors, and back: every field is checked against the dense network."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from torch_growl.channelwise import NORMS
from torch_growl.container import VERSION, Version
from torch_growl.errors import FileFormatError, InvalidValueError
from torch_growl.index_codec import decode_labels, decode_set, encode_labels, encode_set
from torch_growl.layers import LayerKind, kind_of
from torch_growl.partition import PRUNED
from torch_growl.structure import LayerCut, NormCut, Structure

__all__ = ["decode", "encode"]

_LABELS, _KEPT = "growl.labels.", "growl.kept."
_FORMS = ("full", "local", "none")
_WIDTHS_1 = (torch.uint8, torch.int16, torch.int32)  # of labels in version 1


def encode(structure: Structure) -> tuple[str, dict[str, Tensor]]:
    """The structure's text and tensors.

    Raises:
        InvalidValueError: a layer has something that this version of the format cannot hold.
    """
    tensors: dict[str, Tensor] = {}
    layers = []
    for number, layer in enumerate(structure.layers):
        layers.append(_entry(layer))
        if layer.labels is not None:
            tensors[f"{_LABELS}{number}"] = encode_labels(layer.labels, layer.width, layer.groups)
        if layer.kept is not None:
            tensors[f"{_KEPT}{number}"] = encode_set(layer.kept, layer.outputs)
    norms = [
        {"name": norm.name, "features": norm.features, "source": norm.source, "block": norm.block}
        for norm in structure.norms
    ]
    return json.dumps({"layers": layers, "norms": norms}, ensure_ascii=False, separators=(",", ":")), tensors


def _entry(layer: LayerCut) -> dict[str, Any]:
    """A layer's JSON object: what is required, and of the rest whatever is not its default."""
    entry: dict[str, Any] = {}
    for field in fields(layer):
        value = getattr(layer, field.name)
        if field.name in _REQUIRED:
            entry[field.name] = value
        elif field.name in _AS_TENSORS or value == field.default:
            continue
        elif field.name in _OPTIONAL:
            entry[field.name] = value
        else:
            raise InvalidValueError(f"layer {layer.name!r}: the compact file has no field for its {field.name}")
    return entry


def decode(text: str, tensors: dict[str, Tensor], dense: nn.Module, version: Version = VERSION) -> Structure:
    """The structure in a file.

    Args:
        text: the header's structure.
        tensors: the file's tensors; the structure's own are taken out.
        dense: the network it is for; not modified.
        version: the file's.

    Raises:
        FileFormatError: it is malformed, of a newer version, or does not fit the network.
    """
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:  # not JSON, or a number of thousands of digits
        raise FileFormatError(f"the structure is not JSON: {error}") from None
    if not isinstance(data, dict) or set(data) != {"layers", "norms"}:
        raise FileFormatError(f"the structure must be an object with the fields layers and norms{_newer(version)}")
    modules = dict(dense.named_modules())
    layers: dict[str, LayerCut] = {}
    labels: dict[str, Tensor] = {}
    for number, entry in enumerate(_objects(data["layers"], "layers")):
        layer = _layer(entry, number, modules, tensors, version)
        if layer.name in layers:
            raise FileFormatError(f"layer {layer.name!r} is in the structure twice")
        layers[layer.name] = layer
        if f"{_LABELS}{number}" in tensors:
            labels[layer.name] = tensors.pop(f"{_LABELS}{number}")
    for name, layer in layers.items():  # labels can be read when it is known which inputs arrive
        _check_source(f"layer {name!r}", layer.source, layer.block, layer.inputs, layers)
        layers[name] = _labelled(layer, _arriving(layer, layers), labels.get(name), version)
    norms = tuple(_norm(entry, modules, layers, version) for entry in _objects(data["norms"], "norms"))
    if len({norm.name for norm in norms}) != len(norms):
        raise FileFormatError("a normalisation is in the structure twice")
    return Structure(tuple(layers.values()), norms)


def _newer(version: Version) -> str:
    """What to say where a file has something that is not known."""
    if version <= VERSION:
        return ""
    found, known = (".".join(map(str, each)) for each in (version, VERSION))
    return f" (the file is of version {found}, this torch-growl knows {known}: a newer one can read it)"


def _objects(value: Any, what: str) -> list[dict[str, Any]]:
    if not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
        raise FileFormatError(f"the structure's {what} must be a list of objects")
    return value


def _typed(value: Any, kind: type, what: str) -> Any:
    if type(value) is not kind:
        raise FileFormatError(f"{what} must be {kind.__name__}, got {value!r:.50}")
    return value


def _text(value: Any, what: str) -> str:
    return cast(str, _typed(value, str, what))


def _number(value: Any, what: str) -> int:
    return cast(int, _typed(value, int, what))


def _form(value: Any, what: str) -> str:
    if _text(value, what) not in _FORMS:
        raise FileFormatError(f"{what} must be one of {', '.join(_FORMS)}, got {value!r:.50}")
    return cast(str, value)


_REQUIRED: dict[str, Callable[[Any, str], Any]] = {
    "name": _text,
    "inputs": _number,
    "outputs": _number,
    "width": _number,
}
# A new field of LayerCut gets a line here with what checks it, one in docs/format.md, and a new minor version.
_OPTIONAL: dict[str, Callable[[Any, str], Any]] = {
    "groups": _number,
    "source": _text,
    "block": _number,
    "form": _form,
    "reason": _text,
}
_AS_TENSORS = ("labels", "kept")


def _layer(
    entry: dict[str, Any],
    number: int,
    modules: dict[str, nn.Module],
    tensors: dict[str, Tensor],
    version: Version,
) -> LayerCut:
    name = _text(entry.get("name"), f"layer {number} of the structure: name")
    where = f"layer {name!r}"
    unknown = set(entry) - set(_REQUIRED) - set(_OPTIONAL)
    if unknown:
        raise FileFormatError(f"{where} of the structure has unknown fields {sorted(unknown)}{_newer(version)}")
    given = {key: check(entry.get(key), f"{where}: {key}") for key, check in _REQUIRED.items()}
    given |= {key: check(entry[key], f"{where}: {key}") for key, check in _OPTIONAL.items() if key in entry}
    layer = LayerCut(**given)
    module = modules.get(name)
    kind = None if module is None else kind_of(module)
    if module is None or kind is None:
        raise FileFormatError(f"{where} of the file is not a layer of this network")
    found, expected = _shape(module, kind), (layer.inputs, layer.outputs, layer.groups)
    if found != expected:
        raise FileFormatError(
            f"{where}: the file is for (inputs, outputs, groups) {expected}, this network's layer has {found}"
        )
    kept = tensors.pop(f"{_KEPT}{number}", None)
    return layer if kept is None else replace(layer, kept=_kept(kept, layer, version))


def _shape(module: nn.Module, kind: LayerKind) -> tuple[int, int, int]:
    weight = cast(Tensor, module.weight)
    inputs, outputs = (kind.blocks(module, weight, "input"), kind.blocks(module, weight, "output"))
    return inputs.shape[0] * inputs.shape[1], outputs.shape[0] * outputs.shape[1], kind.groups(module)


def _kept(stored: Tensor, layer: LayerCut, version: Version) -> tuple[int, ...]:
    where = f"layer {layer.name!r}"
    outputs = layer.outputs
    if layer.groups != 1:
        raise FileFormatError(f"{where}: output channels of a grouped layer cannot have been cut")
    if version >= (2, 0):
        kept = decode_set(stored, outputs, f"{where}, kept outputs")
    elif stored.dtype != torch.uint8 or stored.shape != ((outputs + 7) // 8,):
        raise FileFormatError(f"{where}: the mask of kept outputs must be {(outputs + 7) // 8} bytes")
    else:
        kept = tuple(np.flatnonzero(np.unpackbits(stored.numpy(), bitorder="little")).tolist())
    if not kept or kept[-1] >= outputs:
        raise FileFormatError(f"{where}: the set of kept outputs is empty or names more than {outputs}")
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


def _arriving(layer: LayerCut, layers: dict[str, LayerCut]) -> int:
    """How many of the layer's inputs are left when its source was cut."""
    if layer.source is None:
        return layer.inputs
    if layer.groups != 1:
        raise FileFormatError(f"layer {layer.name!r}: a grouped layer cannot read removed channels")
    return len(layers[layer.source].kept or ()) * layer.block


def _labelled(layer: LayerCut, arriving: int, stored: Tensor | None, version: Version) -> LayerCut:
    where = f"layer {layer.name!r}"
    width, groups = layer.width, layer.groups
    if stored is None:
        if width != arriving:
            raise FileFormatError(f"{where}: {arriving} inputs arrive, but its width is {width} and it has no labels")
        return layer
    if not 1 <= width <= arriving or width % groups:
        raise FileFormatError(f"{where}: width must be 1..{arriving} and a multiple of {groups}, got {width}")
    if version >= (2, 0):
        labels = decode_labels(stored, arriving, width, groups, f"{where}, labels")
    elif stored.ndim != 1 or stored.dtype not in _WIDTHS_1:
        raise FileFormatError(f"{where}: labels must be a list of uint8, int16 or int32, got {stored.dtype}")
    else:
        labels = tuple((stored.to(torch.int64) - 1).tolist())
    if len(labels) != arriving:
        raise FileFormatError(f"{where}: {arriving} inputs arrive, but it has {len(labels)} labels")
    found, place = np.array(labels), np.arange(arriving)
    fits = (found >= 0) & (found < width) & (found // (width // groups) == place // (arriving // groups))
    wrong = np.flatnonzero(~fits & (found != PRUNED))
    if len(wrong):
        raise FileFormatError(f"{where}: input {wrong[0]} has label {labels[wrong[0]]}, outside its group's inputs")
    if layer.source is not None and len(set(labels) - {PRUNED}) < width:  # padding is fed by an input that may be gone
        raise FileFormatError(f"{where}: some of its {width} inputs are fed by none of {layer.source!r}'s channels")
    return replace(layer, labels=labels)


def _norm(
    entry: dict[str, Any], modules: dict[str, nn.Module], layers: dict[str, LayerCut], version: Version
) -> NormCut:
    name = _text(entry.get("name"), "a normalisation of the structure: name")
    where = f"normalisation {name!r}"
    if set(entry) != {"name", "features", "source", "block"}:
        raise FileFormatError(f"{where} must have the fields name, features, source, block{_newer(version)}")
    features, block = (_number(entry[field], f"{where}: {field}") for field in ("features", "block"))
    source = _text(entry["source"], f"{where}: source")
    module: Any = modules.get(name)
    if type(module) not in NORMS:
        raise FileFormatError(f"{where} of the file is not a normalisation of this network")
    if module.num_features != features:
        raise FileFormatError(f"{where}: the file is for {features} features, this network's has {module.num_features}")
    _check_source(where, source, block, features, layers)
    return NormCut(name, features, source, block)
