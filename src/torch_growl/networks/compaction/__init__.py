"""The compact network with the same outputs: its structure, planning, construction, and the state of its training.

``expand_`` writes the weights of a compact network back into a dense one of the original sizes;
``load_expanded_`` loads the state of such a network.
"""

from torch_growl.networks.compaction.compactor import compact
from torch_growl.networks.compaction.expanding import expand, expand_, load_expanded_
from torch_growl.networks.compaction.inputs import PlaceInputs, SelectInputs, SumInputs
from torch_growl.networks.compaction.planning import fixed_modules
from torch_growl.networks.compaction.shrinking import FedLayer, shrink_
from torch_growl.networks.compaction.structure import (
    SIZES_OF_PARAMETERS,
    AttributeChange,
    LayerCut,
    ModuleCut,
    ParameterCut,
    Structure,
    recorded,
    structure_of,
)
from torch_growl.networks.compaction.training_state import compact_like, compact_optimizer, compact_scheduler

__all__ = [
    "SIZES_OF_PARAMETERS",
    "AttributeChange",
    "FedLayer",
    "LayerCut",
    "ModuleCut",
    "ParameterCut",
    "PlaceInputs",
    "SelectInputs",
    "Structure",
    "SumInputs",
    "compact",
    "compact_like",
    "compact_optimizer",
    "compact_scheduler",
    "expand",
    "expand_",
    "fixed_modules",
    "load_expanded_",
    "recorded",
    "shrink_",
    "structure_of",
]
