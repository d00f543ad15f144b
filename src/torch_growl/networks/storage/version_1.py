"""Decoding the structures of compact files of version 1, which are no longer written.

In version 1 the inputs that arrive at a layer follow from one source layer with removed output channels, and batch
normalisations are the only other modules with removed channels.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from torch_growl.errors import FileFormatError
from torch_growl.networks.compaction import AttributeChange, LayerCut, ParameterCut, Structure
from torch_growl.networks.storage.container import Version
from torch_growl.networks.storage.decoding import check_labels, check_layer, check_width, fields, objects

__all__ = ["decode"]

_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


def decode(text: str, tensors: dict[str, Tensor], dense: nn.Module, version: Version = (1, 0)) -> Structure:
    """Decode the structure of a file of version 1; see :func:`torch_growl.networks.storage.decoding.decode`."""
    data = fields(text, ("layers", "norms"), version)
    modules = dict(dense.named_modules())
    layers: dict[str, LayerCut] = {}
    sources: dict[str, tuple[Any, Any]] = {}
    for number, entry in enumerate(objects(data["layers"], "layers")):
        plain, where = check_layer(entry, number, modules, {"source", "block"}, version)
        if plain.name in layers:
            raise FileFormatError(f"{where} is in the structure twice")
        kept, labels = tensors.pop(f"growl.kept.{number}", None), tensors.pop(f"growl.labels.{number}", None)
        if kept is not None:
            plain = replace(plain, kept=_mask(kept, plain.outputs, where))
            if plain.groups != 1:
                raise FileFormatError(f"{where}: a grouped layer cannot have removed output channels")
        if labels is not None:
            if labels.ndim != 1 or labels.dtype not in (torch.uint8, torch.int16, torch.int32):
                raise FileFormatError(f"{where}: labels must be a list of uint8, int16 or int32, got {labels.dtype}")
            plain = replace(plain, labels=tuple((labels.to(torch.int64) - 1).tolist()))
        layers[plain.name] = plain
        if "source" in entry:
            if not isinstance(entry["source"], str):
                raise FileFormatError(f"{where}: source must be the name of a layer, got {entry['source']!r:.50}")
            sources[plain.name] = (entry["source"], entry.get("block", 1))
    for name, (source, block) in sources.items():
        arriving = _arriving(f"layer {name!r}", layers.get(source), block, layers[name].inputs)
        layers[name] = replace(layers[name], arriving=arriving)
    for name, layer in layers.items():
        if layer.arriving is not None and layer.groups != 1:
            raise FileFormatError(f"layer {name!r}: a grouped layer cannot read removed channels")
        check_width(layer, layer.labels is not None, f"layer {name!r}")
        if layer.labels is not None:
            check_labels(layer, f"layer {name!r}")
    parameters, attributes = [], []
    for entry in objects(data["norms"], "norms"):
        cut = _norm(entry, modules, layers)
        parameters.append(cut)
        attributes.append(AttributeChange(cut.module, "num_features", cut.size, len(cut.kept)))
    if len({cut.module for cut in parameters}) != len(parameters):
        raise FileFormatError("a normalisation is in the structure twice")
    return Structure(tuple(layers.values()), tuple(parameters), tuple(attributes))


def _mask(stored: Tensor, outputs: int, where: str) -> tuple[int, ...]:
    if stored.dtype != torch.uint8 or stored.shape != ((outputs + 7) // 8,):
        raise FileFormatError(f"{where}: the mask of kept outputs must be {(outputs + 7) // 8} bytes")
    kept = tuple(np.flatnonzero(np.unpackbits(stored.numpy(), bitorder="little")).tolist())
    if not kept or kept[-1] >= outputs:
        raise FileFormatError(f"{where}: the mask of kept outputs is empty or names more than {outputs}")
    return kept


def _arriving(where: str, source: LayerCut | None, block: Any, total: int) -> tuple[int, ...]:
    if source is None or source.kept is None or type(block) is not int or source.outputs * block != total:
        raise FileFormatError(
            f"{where}: its source must be a layer with removed output channels that make its {total} inputs"
        )
    return tuple(channel * block + offset for channel in source.kept for offset in range(block))


def _norm(entry: dict[str, Any], modules: dict[str, nn.Module], layers: dict[str, LayerCut]) -> ParameterCut:
    name, source, features = entry.get("name"), entry.get("source"), entry.get("features")
    where = f"normalisation {name!r:.50}"
    module: Any = modules.get(name) if isinstance(name, str) else None
    if set(entry) != {"name", "features", "source", "block"} or type(module) not in _NORMS:
        raise FileFormatError(f"{where} of the file is not a normalisation of this network, or has other fields")
    if module.num_features != features:
        raise FileFormatError(f"{where}: the file is for {features} features, this network's has {module.num_features}")
    layer = layers.get(source) if isinstance(source, str) else None
    kept = _arriving(where, layer, entry["block"], module.num_features)
    values = {**module._parameters, **module._buffers}
    names = tuple(key for key, value in values.items() if value is not None and value.ndim == 1)
    return ParameterCut(str(name), names, 0, module.num_features, kept)
