"""A structure as JSON text and packed bits, and back: every field is checked against the dense network."""

from __future__ import annotations

import json
from typing import Any, cast

import torch
from torch import Tensor, nn

from torch_growl.bit_packing import bits_for, pack, pack_flags, packed_bytes, unpack, unpack_flags
from torch_growl.errors import FileFormatError
from torch_growl.layers import LayerKind, kind_of
from torch_growl.partition import PRUNED
from torch_growl.structure import AttributeChange, LayerCut, ParameterCut, Structure

__all__ = ["STRUCTURE", "check_layer", "decode", "encode", "fields", "objects"]

STRUCTURE = "structure"
_LABELS, _KEPT, _ARRIVING, _CUT = "growl.labels.", "growl.kept.", "growl.arriving.", "growl.parameters."
_FORMS = ("full", "local", "none")
_CODES = ("ranks", "all", "kept")


def encode(structure: Structure) -> tuple[str, dict[str, Tensor]]:
    """The structure's text and tensors; see docs/format.md."""
    tensors: dict[str, Tensor] = {}
    layers = []
    for number, layer in enumerate(structure.layers):
        entry: dict[str, Any] = {"name": layer.name, "inputs": layer.inputs, "outputs": layer.outputs}
        entry |= {"groups": layer.groups, "width": layer.width, "form": layer.form, "reason": layer.reason}
        if layer.groups_left is not None:
            entry["groups_left"] = layer.groups_left
        if layer.shares is not None:
            entry["shares"] = layer.shares
        if layer.arriving is not None:
            tensors[f"{_ARRIVING}{number}"] = pack_flags(layer.arriving, layer.inputs)
        if layer.kept is not None:
            tensors[f"{_KEPT}{number}"] = pack_flags(layer.kept, layer.outputs)
        if layer.labels is not None:
            entry["labels"], tensors[f"{_LABELS}{number}"] = _packed_labels(layer.labels, layer.width)
        layers.append(entry)
    parameters = []
    for number, cut in enumerate(structure.parameters):
        parameters.append({"module": cut.module, "names": list(cut.names), "dim": cut.dim, "size": cut.size})
        tensors[f"{_CUT}{number}"] = pack_flags(cut.kept, cut.size)
    attributes = [
        {"module": change.module, "name": change.name, "before": change.before, "after": change.after}
        for change in structure.attributes
    ]
    whole = {"layers": layers, "parameters": parameters, "attributes": attributes}
    return json.dumps(whole, ensure_ascii=False, separators=(",", ":")), tensors


def _packed_labels(labels: tuple[int, ...], width: int) -> tuple[str, Tensor]:
    """Labels in the shortest of three codes."""
    places = [place for place, label in enumerate(labels) if label != PRUNED]
    left = [labels[place] for place in places]
    mask = pack_flags(places, len(labels))
    if left == list(range(width)):
        return "ranks", mask
    whole, some = bits_for(width), bits_for(width - 1)
    if packed_bytes(len(labels), whole) <= len(mask) + packed_bytes(len(left), some):
        return "all", pack([label + 1 for label in labels], whole)
    return "kept", torch.cat([mask, pack(left, some)])


def decode(text: str, tensors: dict[str, Tensor], dense: nn.Module) -> Structure:
    """The structure in a file of this version.

    Args:
        text: the header's structure.
        tensors: the file's tensors; the structure's own are taken out.
        dense: the network it is for; not modified.

    Raises:
        FileFormatError: it is malformed, or does not fit the network.
    """
    data = fields(text, {"layers", "parameters", "attributes"})
    modules = dict(dense.named_modules())
    layers: dict[str, LayerCut] = {}
    for number, entry in enumerate(objects(data["layers"], "layers")):
        layer = _layer(entry, number, modules, tensors)
        if layer.name in layers:
            raise FileFormatError(f"layer {layer.name!r} is in the structure twice")
        layers[layer.name] = layer
    for layer in layers.values():
        _check_shared(layer, layers)
    parameters = tuple(
        _parameters(entry, number, modules, tensors)
        for number, entry in enumerate(objects(data["parameters"], "parameters"))
    )
    if len({(c.module, name, c.dim) for c in parameters for name in c.names}) != sum(len(c.names) for c in parameters):
        raise FileFormatError("a parameter is cut twice in the structure")
    attributes = tuple(_attribute(entry, modules) for entry in objects(data["attributes"], "attributes"))
    if len({(change.module, change.name) for change in attributes}) != len(attributes):
        raise FileFormatError("an attribute is changed twice in the structure")
    return Structure(tuple(layers.values()), parameters, attributes)


def fields(text: str, names: set[str]) -> dict[str, Any]:
    """The structure's text as an object with exactly these fields."""
    try:
        data = json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        raise FileFormatError(f"the structure is not JSON: {error}") from None
    if not isinstance(data, dict) or set(data) != names:
        raise FileFormatError(f"the structure must be an object with the fields {', '.join(sorted(names))}")
    return data


def objects(value: Any, what: str) -> list[dict[str, Any]]:
    """A list of objects, checked."""
    if not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
        raise FileFormatError(f"the structure's {what} must be a list of objects")
    return value


def _field(entry: dict[str, Any], field: str, kind: type, where: str) -> Any:
    value = entry.get(field)
    if type(value) is not kind:
        raise FileFormatError(f"{where}: {field} must be {kind.__name__}, got {value!r:.50}")
    return value


def check_layer(
    entry: dict[str, Any], number: int, modules: dict[str, nn.Module], optional: set[str]
) -> tuple[LayerCut, str]:
    """A layer's plain fields, checked against the network; and the words that errors name it by."""
    name = _field(entry, "name", str, f"layer {number} of the structure")
    where = f"layer {name!r}"
    unknown = set(entry) - {"name", "inputs", "outputs", "groups", "width", "form", "reason"} - optional
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
    return LayerCut(name, *expected, width=numbers["width"], form=form, reason=reason), where


def _layer(entry: dict[str, Any], number: int, modules: dict[str, nn.Module], tensors: dict[str, Tensor]) -> LayerCut:
    plain, where = check_layer(entry, number, modules, {"groups_left", "labels", "shares"})
    kept = _mask(tensors, f"{_KEPT}{number}", plain.outputs, f"{where}: the mask of kept outputs")
    arriving = _mask(tensors, f"{_ARRIVING}{number}", plain.inputs, f"{where}: the mask of arriving inputs")
    groups_left = _field(entry, "groups_left", int, where) if "groups_left" in entry else None
    shares = _field(entry, "shares", str, where) if "shares" in entry else None
    left = {"kept": kept, "arriving": arriving, "groups_left": groups_left, "shares": shares}
    cut = LayerCut(**{**plain.__dict__, **left})
    _check_groups(cut, where)
    labels = None
    if "labels" in entry:
        code = _field(entry, "labels", str, where)
        stored = tensors.pop(f"{_LABELS}{number}", None)
        if code not in _CODES or stored is None:
            raise FileFormatError(f"{where}: labels are missing, or their code {code!r:.50} is none of {_CODES}")
        try:
            labels = _unpacked_labels(stored, code, len(cut.arrivals), cut.width)
        except ValueError as error:
            raise FileFormatError(f"{where}: its labels {error}") from None
    cut = LayerCut(**{**cut.__dict__, "labels": labels})
    check_labels(cut, where)
    return cut


def _mask(tensors: dict[str, Tensor], name: str, count: int, what: str) -> tuple[int, ...] | None:
    stored = tensors.pop(name, None)
    if stored is None:
        return None
    try:
        found = unpack_flags(stored, count)
    except ValueError as error:
        raise FileFormatError(f"{what} {error}") from None
    if not found:
        raise FileFormatError(f"{what} is empty")
    return found


def _check_groups(cut: LayerCut, where: str) -> None:
    """Of a grouped layer, only whole groups go, inputs and outputs together."""
    if cut.groups == 1:
        if cut.groups_left is not None:
            raise FileFormatError(f"{where}: it has one group, of which none can be cut")
        return
    if (cut.kept is None) != (cut.groups_left is None) or (cut.kept is None) != (cut.arriving is None):
        raise FileFormatError(f"{where}: of a grouped layer, groups go with their inputs and outputs")
    if cut.kept is None or cut.arriving is None:
        return
    outs, rows = cut.outputs // cut.groups, cut.inputs // cut.groups
    left = sorted({channel // outs for channel in cut.kept})
    if (
        len(left) != cut.groups_left
        or cut.kept != tuple(g * outs + i for g in left for i in range(outs))
        or cut.arriving != tuple(g * rows + i for g in left for i in range(rows))
    ):
        raise FileFormatError(f"{where}: what is left of a grouped layer must be whole groups")


def _check_shared(layer: LayerCut, layers: dict[str, LayerCut]) -> None:
    if layer.shares is None:
        return
    first = layers.get(layer.shares)
    same = first is not None and first is not layer and first.shares is None and first.groups == layer.groups == 1
    if not same or layer.labels is None or (first.labels, first.arriving) != (layer.labels, layer.arriving):  # type: ignore[union-attr]
        raise FileFormatError(f"layer {layer.name!r}: it cannot share the inputs of {layer.shares!r}")


def _shape(module: nn.Module, kind: LayerKind) -> tuple[int, int, int]:
    weight = cast(Tensor, module.weight)
    inputs, outputs = (kind.blocks(module, weight, "input"), kind.blocks(module, weight, "output"))
    return inputs.shape[0] * inputs.shape[1], outputs.shape[0] * outputs.shape[1], kind.groups(module)


def _unpacked_labels(stored: Tensor, code: str, count: int, width: int) -> tuple[int, ...]:
    if width < 1:
        raise ValueError("are of a layer without inputs")
    if code == "all":
        return tuple(label - 1 for label in unpack(stored, count, bits_for(width)))
    if stored.ndim != 1 or stored.dtype != torch.uint8:
        raise ValueError("must be a vector of uint8")
    masked = packed_bytes(count, 1)
    places = unpack_flags(stored[:masked], count)
    left = list(range(len(places)))
    if code == "kept":
        left = unpack(stored[masked:], len(places), bits_for(width - 1))
    elif len(stored) != masked:
        raise ValueError(f"must be {masked} bytes of uint8, got {len(stored)}")
    labels = [PRUNED] * count
    for place, label in zip(places, left, strict=True):
        labels[place] = label
    return tuple(labels)


def check_labels(layer: LayerCut, where: str) -> None:
    """That labels and width fit what arrives."""
    arriving, groups = len(layer.arrivals), layer.groups_after
    if layer.labels is None:
        if layer.width != arriving:
            raise FileFormatError(
                f"{where}: {arriving} inputs arrive, but its width is {layer.width} and it has no labels"
            )
        return
    if len(layer.labels) != arriving:
        raise FileFormatError(f"{where}: {arriving} inputs arrive, but it has {len(layer.labels)} labels")
    if not 1 <= layer.width <= arriving or layer.width % groups:
        raise FileFormatError(f"{where}: width must be 1..{arriving} and a multiple of {groups}, got {layer.width}")
    per_group, width = arriving // groups, layer.width // groups
    for place, label in enumerate(layer.labels):
        if label != PRUNED and not (0 <= label < layer.width and label // width == place // per_group):
            raise FileFormatError(f"{where}: input {place} has label {label}, outside its group's inputs")


def _parameters(
    entry: dict[str, Any], number: int, modules: dict[str, nn.Module], tensors: dict[str, Tensor]
) -> ParameterCut:
    name = _field(entry, "module", str, f"entry {number} of the structure's parameters")
    where = f"parameters of {name!r}"
    if set(entry) != {"module", "names", "dim", "size"}:
        raise FileFormatError(f"{where} must have the fields module, names, dim, size")
    dim, size, names = _field(entry, "dim", int, where), _field(entry, "size", int, where), entry["names"]
    module = modules.get(name)
    if module is None or kind_of(module) is not None:
        raise FileFormatError(f"{where}: the network has no such module, or it is a layer")
    if not isinstance(names, list) or not names or not all(isinstance(n, str) for n in names):
        raise FileFormatError(f"{where}: names must be a list of names")
    for own in names:
        value = {**module._parameters, **module._buffers}.get(own)
        if value is None or not 0 <= dim < value.ndim or value.shape[dim] != size:
            raise FileFormatError(f"{where}: the network has no {own!r} of size {size} along dimension {dim}")
    kept = _mask(tensors, f"{_CUT}{number}", size, f"{where}: the mask of what is left")
    if kept is None:
        raise FileFormatError(f"{where}: the mask of what is left is missing")
    return ParameterCut(name, tuple(names), dim, size, kept)


def _attribute(entry: dict[str, Any], modules: dict[str, nn.Module]) -> AttributeChange:
    if set(entry) != {"module", "name", "before", "after"}:
        raise FileFormatError("an attribute of the structure must have the fields module, name, before, after")
    module, name = (_field(entry, field, str, "an attribute of the structure") for field in ("module", "name"))
    before, after = (_field(entry, field, int, f"attribute {name!r} of {module!r}") for field in ("before", "after"))
    held = vars(modules[module]).get(name) if module in modules else None
    if type(held) is not int or held != before or not 1 <= after < before:
        raise FileFormatError(
            f"attribute {name!r} of {module!r}: must be {before} in this network and become smaller, is {held!r:.50}"
        )
    return AttributeChange(module, name, before, after)
