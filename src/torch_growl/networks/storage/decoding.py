"""Decoding a structure from JSON text and packed bits: every field is checked against the dense network."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
from torch import Tensor, nn

from torch_growl.errors import FileFormatError
from torch_growl.mathematics.clustering import PRUNED
from torch_growl.networks.compaction import AttributeChange, LayerCut, ModuleCut, ParameterCut, Structure
from torch_growl.networks.layers import kind_of, registered_kind
from torch_growl.networks.storage.bit_packing import decode_labels, decode_set
from torch_growl.networks.storage.container import VERSION, Version
from torch_growl.networks.storage.encoding import LABELS, NORM_NAMES, OPTIONAL, REQUIRED, SET, implied_changes

__all__ = ["check_labels", "check_layer", "check_width", "decode", "fields", "objects"]

_FORMS = ("full", "local", "none")


def decode(text: str, tensors: dict[str, Tensor], dense: nn.Module, version: Version = VERSION) -> Structure:
    """Decode the structure of a file of version 2.

    Args:
        text: the header's structure.
        tensors: the file's tensors; those of the structure are removed.
        dense: a dense network of the original class; not modified.
        version: the file's version.

    Raises:
        FileFormatError: the structure is malformed, has unknown fields, or does not fit the network.
    """
    data = {"modules": [], **fields(text, ("layers", "parameters", "attributes"), version, optional=("modules",))}
    modules = dict(dense.named_modules())
    sets = _Sets(tensors)
    layers: dict[str, LayerCut] = {}
    for number, entry in enumerate(objects(data["layers"], "layers")):
        layer = _layer(entry, number, modules, tensors, sets, version)
        if layer.name in layers:
            raise FileFormatError(f"layer {layer.name!r} is in the structure twice")
        layers[layer.name] = layer
    for layer in layers.values():
        _check_shared(layer, layers)
    parameters = tuple(
        _parameters(entry, number, modules, sets, version)
        for number, entry in enumerate(objects(data["parameters"], "parameters"))
    )
    if len({(c.module, name, c.dim) for c in parameters for name in c.names}) != sum(len(c.names) for c in parameters):
        raise FileFormatError("a parameter is cut twice in the structure")
    following = implied_changes(parameters, {name: vars(module) for name, module in modules.items()})
    given = tuple(_attribute(entry, modules, version) for entry in objects(data["attributes"], "attributes"))
    attributes = tuple(dict.fromkeys(following)) + given
    if len({(change.module, change.name) for change in attributes}) != len(attributes):
        raise FileFormatError("an attribute is changed twice in the structure")
    around = tuple(_module(entry, modules, sets, version) for entry in objects(data["modules"], "modules"))
    if len({cut.module for cut in around}) != len(around):
        raise FileFormatError("a module is in the structure's modules twice")
    sets.remove_used()
    return Structure(tuple(layers.values()), parameters, attributes, around)


class _Sets:
    """The file's sets of numbers; several entries may name the same one."""

    def __init__(self, tensors: dict[str, Tensor]) -> None:
        self.tensors = tensors
        self.used: set[str] = set()

    def get(self, entry: dict[str, Any], key: str, total: int, where: str) -> tuple[int, ...] | None:
        """Return the set that a field of an entry names; None without that field."""
        if key not in entry:
            return None
        name = f"{SET}{_field(entry, key, int, where)}"
        if name not in self.tensors:
            raise FileFormatError(f"{where}: {key}: the file has no {name!r}")
        found = decode_set(self.tensors[name], total, f"{where}, {key}")
        if not found:
            raise FileFormatError(f"{where}, {key}: the set is empty")
        self.used.add(name)
        return found

    def remove_used(self) -> None:
        """Remove the sets that were named from the file's tensors; any others are refused with the rest of them."""
        for name in self.used:
            del self.tensors[name]


def fields(text: str, names: tuple[str, ...], version: Version, *, optional: tuple[str, ...] = ()) -> dict[str, Any]:
    """Parse the structure's text as an object with exactly these fields, and maybe optional ones."""
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:  # not JSON, or a number of thousands of digits
        raise FileFormatError(f"the structure is not JSON: {error}") from None
    if not isinstance(data, dict) or not set(names) <= set(data) <= {*names, *optional}:
        raise FileFormatError(f"the structure must be an object with the fields {', '.join(names)}{_newer(version)}")
    return data


def _newer(version: Version) -> str:
    """Return the end of a message about an unknown field: empty unless the file is of a newer version."""
    if version <= VERSION:
        return ""
    found, known = (".".join(map(str, each)) for each in (version, VERSION))
    return f" (the file is of version {found}, this torch-growl knows {known}: a newer one can read it)"


def objects(value: Any, what: str) -> list[dict[str, Any]]:
    """Check that a value is a list of objects."""
    if not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
        raise FileFormatError(f"the structure's {what} must be a list of objects")
    return value


def _field(entry: dict[str, Any], field: str, kind: type, where: str) -> Any:
    value = entry.get(field)
    if type(value) is not kind:
        raise FileFormatError(f"{where}: {field} must be {kind.__name__}, got {value!r:.50}")
    return value


def check_layer(
    entry: dict[str, Any], number: int, modules: dict[str, nn.Module], optional: set[str], version: Version
) -> tuple[LayerCut, str]:
    """Check a layer's plain fields against the network; return its cut and its name in messages."""
    name = _field(entry, "name", str, f"layer {number} of the structure")
    where = f"layer {name!r}"
    unknown = set(entry) - REQUIRED - {"groups", "form", "reason"} - optional
    if unknown:
        raise FileFormatError(f"{where} of the structure has unknown fields {sorted(unknown)}{_newer(version)}")
    usual = {**OPTIONAL, **entry}
    numbers = {f: _field(usual, f, int, where) for f in ("inputs", "outputs", "groups", "width")}
    form, reason = _field(usual, "form", str, where), _field(usual, "reason", str, where)
    if form not in _FORMS:
        raise FileFormatError(f"{where}: form must be one of {', '.join(_FORMS)}, got {form!r:.50}")
    module = modules.get(name)
    kind = None if module is None else kind_of(module)
    if module is None or kind is None:
        raise FileFormatError(f"{where} of the file is not a layer of this network")
    found = tuple(kind.sizes(module))
    expected = (numbers["inputs"], numbers["outputs"], numbers["groups"])
    if found != expected:
        raise FileFormatError(
            f"{where}: the file is for (inputs, outputs, groups) {expected}, this network's layer has {found}"
        )
    return LayerCut(name, *expected, width=numbers["width"], form=form, reason=reason), where


def _layer(
    entry: dict[str, Any],
    number: int,
    modules: dict[str, nn.Module],
    tensors: dict[str, Tensor],
    sets: _Sets,
    version: Version,
) -> LayerCut:
    plain, where = check_layer(
        entry, number, modules, {"groups_left", "shares", "kept", "arriving", "folded", "bias_added"}, version
    )
    cut = replace(
        plain,
        kept=sets.get(entry, "kept", plain.outputs, where),
        arriving=sets.get(entry, "arriving", plain.inputs, where),
        groups_left=_field(entry, "groups_left", int, where) if "groups_left" in entry else None,
        shares=_field(entry, "shares", str, where) if "shares" in entry else None,
        folded=_field({"folded": 0, **entry}, "folded", int, where),
        bias_added=_field({"bias_added": False, **entry}, "bias_added", bool, where),
    )
    _check_bias(cut, modules[cut.name], where)
    _check_groups(cut, where)
    stored = tensors.pop(f"{LABELS}{number}", None)
    check_width(cut, stored is not None, where)
    if stored is None:
        return cut
    labels = decode_labels(stored, len(cut.arrivals), cut.width, cut.groups_after, f"{where}, labels")
    cut = replace(cut, labels=labels)
    check_labels(cut, where)
    return cut


def _check_bias(cut: LayerCut, module: nn.Module, where: str) -> None:
    """Check that a bias is only added to a layer that can have one and has none."""
    if not 0 <= cut.folded <= cut.inputs:
        raise FileFormatError(f"{where}: folded must be 0..{cut.inputs}, got {cut.folded}")
    if cut.bias_added and not (registered_kind(module).affine and getattr(module, "bias", None) is None):
        raise FileFormatError(f"{where}: bias_added is only for a layer that has no bias in this network")


def _check_groups(cut: LayerCut, where: str) -> None:
    """Check that a grouped layer keeps whole groups, with all of their inputs and outputs."""
    if cut.groups == 1:
        if cut.groups_left is not None:
            raise FileFormatError(f"{where}: groups_left is only for layers of several groups")
        return
    if (cut.kept is None) != (cut.groups_left is None) or (cut.kept is None) != (cut.arriving is None):
        raise FileFormatError(
            f"{where}: a grouped layer must have all of groups_left, kept and arriving, or none of them"
        )
    if cut.kept is None or cut.arriving is None:
        return
    outs, rows = cut.outputs // cut.groups, cut.inputs // cut.groups
    left = sorted({channel // outs for channel in cut.kept})
    if (
        len(left) != cut.groups_left
        or cut.kept != tuple(g * outs + i for g in left for i in range(outs))
        or cut.arriving != tuple(g * rows + i for g in left for i in range(rows))
    ):
        raise FileFormatError(f"{where}: kept and arriving must be all outputs and inputs of groups_left whole groups")


def _check_shared(layer: LayerCut, layers: dict[str, LayerCut]) -> None:
    if layer.shares is None:
        return
    first = layers.get(layer.shares)
    same = first is not None and first is not layer and first.shares is None and first.groups == layer.groups == 1
    if not same or layer.labels is None or (first.labels, first.arriving) != (layer.labels, layer.arriving):  # type: ignore[union-attr]
        raise FileFormatError(f"layer {layer.name!r}: it cannot share the inputs of {layer.shares!r}")


def check_width(layer: LayerCut, labelled: bool, where: str) -> None:
    """Check the number of inputs of the smaller layer against the inputs that arrive."""
    arriving, width, groups = len(layer.arrivals), layer.width, layer.groups_after
    if not labelled and width != arriving:
        raise FileFormatError(f"{where}: {arriving} inputs arrive, but its width is {width} and it has no labels")
    if labelled and (not 1 <= width <= arriving or width % groups):
        raise FileFormatError(f"{where}: width must be 1..{arriving} and a multiple of {groups}, got {width}")


def check_labels(layer: LayerCut, where: str) -> None:
    """Check that there is a label for each arriving input, and that each label is in its input's group."""
    labels = layer.labels or ()
    arriving, width, groups = len(layer.arrivals), layer.width, layer.groups_after
    if len(labels) != arriving:
        raise FileFormatError(f"{where}: {arriving} inputs arrive, but it has {len(labels)} labels")
    found, place = np.array(labels), np.arange(arriving)
    fits = (found >= 0) & (found < width) & (found // (width // groups) == place // (arriving // groups))
    wrong = np.flatnonzero(~fits & (found != PRUNED))
    if len(wrong):
        raise FileFormatError(f"{where}: input {wrong[0]} has label {labels[wrong[0]]}, outside its group's inputs")


def _parameters(
    entry: dict[str, Any], number: int, modules: dict[str, nn.Module], sets: _Sets, version: Version
) -> ParameterCut:
    name = _field(entry, "module", str, f"entry {number} of the structure's parameters")
    where = f"parameters of {name!r}"
    if not {"module", "size", "kept"} <= set(entry) <= {"module", "size", "kept", "names", "dim"}:
        raise FileFormatError(f"{where} must have the fields module, size, kept, names, dim{_newer(version)}")
    size, names = _field(entry, "size", int, where), entry.get("names", list(NORM_NAMES))
    dim = _field({"dim": 0, **entry}, "dim", int, where)
    module = modules.get(name)
    if module is None or kind_of(module) is not None:
        raise FileFormatError(f"{where}: the network has no such module, or it is a layer")
    if not isinstance(names, list) or not names or not all(isinstance(n, str) for n in names):
        raise FileFormatError(f"{where}: names must be a list of names")
    for own in names:
        value = {**module._parameters, **module._buffers}.get(own)
        if value is None or not 0 <= dim < value.ndim or value.shape[dim] != size:
            raise FileFormatError(f"{where}: the network has no {own!r} of size {size} along dimension {dim}")
    return ParameterCut(name, tuple(names), dim, size, sets.get(entry, "kept", size, where) or ())


def _attribute(entry: dict[str, Any], modules: dict[str, nn.Module], version: Version) -> AttributeChange:
    if set(entry) != {"module", "name", "before", "after"}:
        text = "an attribute of the structure must have the fields module, name, before, after"
        raise FileFormatError(f"{text}{_newer(version)}")
    module, name = (_field(entry, field, str, "an attribute of the structure") for field in ("module", "name"))
    before, after = (_field(entry, field, int, f"attribute {name!r} of {module!r}") for field in ("before", "after"))
    held = vars(modules[module]).get(name) if module in modules else None
    if type(held) is not int or held != before or not 1 <= after < before:
        raise FileFormatError(
            f"attribute {name!r} of {module!r}: must be {before} in this network and become smaller, is {held!r:.50}"
        )
    return AttributeChange(module, name, before, after)


def _module(entry: dict[str, Any], modules: dict[str, nn.Module], sets: _Sets, version: Version) -> ModuleCut:
    name = _field(entry, "module", str, "an entry of the structure's modules")
    where = f"module {name!r}"
    required = {"module", "dim", "inputs", "outputs"}
    if not required <= set(entry) <= required | {"arriving", "kept"}:
        raise FileFormatError(
            f"{where} must have the fields module, dim, inputs, outputs, arriving, kept{_newer(version)}"
        )
    dim, inputs, outputs = (_field(entry, field, int, where) for field in ("dim", "inputs", "outputs"))
    module = modules.get(name) if name else None
    if module is None or [*module.parameters(), *module.buffers()]:
        raise FileFormatError(f"{where}: the network has no such module, or it has parameters or buffers")
    if dim >= 0 or min(inputs, outputs) < 1:
        raise FileFormatError(f"{where}: dim must be negative, inputs and outputs at least 1")
    arriving, kept = sets.get(entry, "arriving", inputs, where), sets.get(entry, "kept", outputs, where)
    if arriving is None and kept is None:
        raise FileFormatError(f"{where}: it must have arriving, kept or both")
    return ModuleCut(name, dim, inputs, outputs, arriving, kept)
