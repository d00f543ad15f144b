"""torch-growl: learn which inputs of every layer to drop and which to share, then run the smaller network left.

Docs write ``import torch_growl as tg``. Public names are those in ``__all__``; they are imported when first used, so
that ``import torch_growl`` alone costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch_growl.carrying import compact_like, compact_optimizer, compact_scheduler
    from torch_growl.clustering import cluster_rows
    from torch_growl.compaction import compact
    from torch_growl.diagnosis import doctor
    from torch_growl.errors import GrowlError, GrowlWarning
    from torch_growl.exporting import export_executorch, export_onnx, export_program
    from torch_growl.inspection import inspect_layers
    from torch_growl.layers import LayerKind, register_layer
    from torch_growl.measurement import measure
    from torch_growl.owl import owl_dual_norm, owl_norm, prox_growl, prox_owl
    from torch_growl.partition import Partition
    from torch_growl.penalty import GrOWL
    from torch_growl.program import load_program
    from torch_growl.sequences import group_slope, lasso, oscar, pld, slope
    from torch_growl.similarity import row_similarity
    from torch_growl.storage import load, load_dense, save
    from torch_growl.structure import structure_of
    from torch_growl.tied import tie_, untie_
    from torch_growl.tying import Tying, find_tying

__all__ = [
    "GrOWL",
    "GrowlError",
    "GrowlWarning",
    "LayerKind",
    "Partition",
    "Tying",
    "cluster_rows",
    "compact",
    "compact_like",
    "compact_optimizer",
    "compact_scheduler",
    "doctor",
    "export_executorch",
    "export_onnx",
    "export_program",
    "find_tying",
    "group_slope",
    "inspect_layers",
    "lasso",
    "load",
    "load_dense",
    "load_program",
    "measure",
    "oscar",
    "owl_dual_norm",
    "owl_norm",
    "pld",
    "prox_growl",
    "prox_owl",
    "register_layer",
    "row_similarity",
    "save",
    "slope",
    "structure_of",
    "tie_",
    "untie_",
]

_HOME = {
    "carrying": ["compact_like", "compact_optimizer", "compact_scheduler"],
    "clustering": ["cluster_rows"],
    "compaction": ["compact"],
    "diagnosis": ["doctor"],
    "errors": ["GrowlError", "GrowlWarning"],
    "exporting": ["export_executorch", "export_onnx", "export_program"],
    "inspection": ["inspect_layers"],
    "layers": ["LayerKind", "register_layer"],
    "measurement": ["measure"],
    "owl": ["owl_dual_norm", "owl_norm", "prox_growl", "prox_owl"],
    "partition": ["Partition"],
    "penalty": ["GrOWL"],
    "program": ["load_program"],
    "sequences": ["group_slope", "lasso", "oscar", "pld", "slope"],
    "similarity": ["row_similarity"],
    "storage": ["load", "load_dense", "save"],
    "structure": ["structure_of"],
    "tied": ["tie_", "untie_"],
    "tying": ["Tying", "find_tying"],
}
_MODULE_OF = {name: module for module, names in _HOME.items() for name in names}


def __getattr__(name: str) -> Any:
    if name in _MODULE_OF:
        value = getattr(import_module(f"torch_growl.{_MODULE_OF[name]}"), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'torch_growl' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
