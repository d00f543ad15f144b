"""torch-growl: learn which inputs of every layer to drop and which to share, then run the smaller network left.

Docs write ``import torch_growl as tg``. Public names are those in ``__all__``; they are imported when first used, so
that ``import torch_growl`` alone costs nothing.

The package has four rings, each a folder; a ring imports itself and the rings above it in this list:

* ``mathematics``: tensors in, tensors out
* ``networks``: modules and optimizers
* ``application``: recipes, runs, reports, the command
* ``integrations``: callbacks of other packages' trainers, imported by path

A ring has rooms, each a folder with a door (its ``__init__``): other rooms import what the door names, nothing else.
The last ring has modules alone.
Beside the rings lie the modules that every ring may import: the public errors (``errors``), checks of arguments
(``arguments``), writing whole files (``files``), checksums inside files (``checksums``), tables of notebooks
(``html_table``) and the version.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from torch_growl.version import __version__ as __version__

if TYPE_CHECKING:
    from torch_growl.application.plots import plot_curve, plot_groups, plot_rows
    from torch_growl.errors import GrowlError, GrowlWarning
    from torch_growl.mathematics.clustering import Partition, cluster_rows
    from torch_growl.mathematics.owl import (
        group_slope,
        lasso,
        oscar,
        owl_dual_norm,
        owl_norm,
        pld,
        prox_growl,
        prox_owl,
        slope,
    )
    from torch_growl.mathematics.similarity import row_similarity
    from torch_growl.networks.compaction import (
        compact,
        compact_like,
        compact_optimizer,
        compact_scheduler,
        expand,
        structure_of,
    )
    from torch_growl.networks.diagnosis import doctor
    from torch_growl.networks.exporting import export_executorch, export_onnx, export_program
    from torch_growl.networks.layers import LayerKind, inspect_layers, register_layer
    from torch_growl.networks.measurement import measure
    from torch_growl.networks.paths import PruningPath
    from torch_growl.networks.penalty import GrOWL
    from torch_growl.networks.recovery import recalibrate_
    from torch_growl.networks.shrinking import compensate_, shrink
    from torch_growl.networks.storage import load, load_dense, load_program, save
    from torch_growl.networks.targets import Target
    from torch_growl.networks.tying import Tying, find_tying, tie_, untie_

__all__ = [
    "GrOWL",
    "GrowlError",
    "GrowlWarning",
    "LayerKind",
    "Partition",
    "PruningPath",
    "Target",
    "Tying",
    "cluster_rows",
    "compact",
    "compact_like",
    "compact_optimizer",
    "compact_scheduler",
    "compensate_",
    "doctor",
    "expand",
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
    "plot_curve",
    "plot_groups",
    "plot_rows",
    "prox_growl",
    "prox_owl",
    "recalibrate_",
    "register_layer",
    "row_similarity",
    "save",
    "shrink",
    "slope",
    "structure_of",
    "tie_",
    "untie_",
]

_HOME = {
    "application.plots": ["plot_curve", "plot_groups", "plot_rows"],
    "errors": ["GrowlError", "GrowlWarning"],
    "mathematics.clustering": ["Partition", "cluster_rows"],
    "mathematics.owl": [
        "group_slope",
        "lasso",
        "oscar",
        "owl_dual_norm",
        "owl_norm",
        "pld",
        "prox_growl",
        "prox_owl",
        "slope",
    ],
    "mathematics.similarity": ["row_similarity"],
    "networks.compaction": [
        "compact",
        "compact_like",
        "compact_optimizer",
        "compact_scheduler",
        "expand",
        "structure_of",
    ],
    "networks.exporting": ["export_executorch", "export_onnx", "export_program"],
    "networks.layers": ["LayerKind", "inspect_layers", "register_layer"],
    "networks.diagnosis": ["doctor"],
    "networks.measurement": ["measure"],
    "networks.penalty": ["GrOWL"],
    "networks.recovery": ["recalibrate_"],
    "networks.shrinking": ["compensate_", "shrink"],
    "networks.storage": ["load", "load_dense", "load_program", "save"],
    "networks.paths": ["PruningPath"],
    "networks.targets": ["Target"],
    "networks.tying": ["Tying", "find_tying", "tie_", "untie_"],
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
