"""torch-growl: learn which inputs of every layer to drop and which to share, then run the smaller network left.

Docs write ``import torch_growl as tg``. Public names are those in ``__all__``; they are imported when first used, so
that ``import torch_growl`` alone costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch_growl.errors import GrowlError, GrowlWarning
    from torch_growl.mathematics.clustering.clusters import cluster_rows
    from torch_growl.mathematics.clustering.partition import Partition
    from torch_growl.mathematics.owl.operators import owl_dual_norm, owl_norm, prox_growl, prox_owl
    from torch_growl.mathematics.owl.sequences import group_slope, lasso, oscar, pld, slope
    from torch_growl.mathematics.similarity.dense import row_similarity
    from torch_growl.networks.compaction.compactor import compact
    from torch_growl.networks.compaction.structure import structure_of
    from torch_growl.networks.compaction.training_state import compact_like, compact_optimizer, compact_scheduler
    from torch_growl.networks.exporting.exported import export_executorch, export_onnx, export_program
    from torch_growl.networks.layers.inspection import inspect_layers
    from torch_growl.networks.layers.kinds import LayerKind, register_layer
    from torch_growl.networks.measurement.counts import measure
    from torch_growl.networks.measurement.diagnosis import doctor
    from torch_growl.networks.penalty.growl import GrOWL
    from torch_growl.networks.storage.compact_file import load, load_dense, save
    from torch_growl.networks.storage.program import load_program
    from torch_growl.networks.tying.parametrization import tie_, untie_
    from torch_growl.networks.tying.tying import Tying, find_tying

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
    "networks.compaction.training_state": ["compact_like", "compact_optimizer", "compact_scheduler"],
    "mathematics.clustering.clusters": ["cluster_rows"],
    "networks.compaction.compactor": ["compact"],
    "networks.measurement.diagnosis": ["doctor"],
    "errors": ["GrowlError", "GrowlWarning"],
    "networks.exporting.exported": ["export_executorch", "export_onnx", "export_program"],
    "networks.layers.inspection": ["inspect_layers"],
    "networks.layers.kinds": ["LayerKind", "register_layer"],
    "networks.measurement.counts": ["measure"],
    "mathematics.owl.operators": ["owl_dual_norm", "owl_norm", "prox_growl", "prox_owl"],
    "mathematics.clustering.partition": ["Partition"],
    "networks.penalty.growl": ["GrOWL"],
    "networks.storage.program": ["load_program"],
    "mathematics.owl.sequences": ["group_slope", "lasso", "oscar", "pld", "slope"],
    "mathematics.similarity.dense": ["row_similarity"],
    "networks.storage.compact_file": ["load", "load_dense", "save"],
    "networks.compaction.structure": ["structure_of"],
    "networks.tying.parametrization": ["tie_", "untie_"],
    "networks.tying.tying": ["Tying", "find_tying"],
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
