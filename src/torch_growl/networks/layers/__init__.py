"""Layer types and the matrix of rows of each, the layers of a network that have rows, and plain copies of networks."""

from torch_growl.networks.layers.choosing import choose_layers, default_layers, matching, warn_of_adapters
from torch_growl.networks.layers.inspection import LayerInfo, inspect_layers
from torch_growl.networks.layers.kinds import (
    LayerKind,
    Side,
    kind_of,
    register_layer,
    registered_kind,
    registered_layers,
)
from torch_growl.networks.layers.plain import (
    clean_name,
    make_plain_,
    own_memory_,
    permanent_hooks,
    plain_copy,
    plain_model,
    remove_training_hooks_,
    sharing_copy,
    training_hook,
)
from torch_growl.networks.layers.pretrained import plain_save_pretrained_, warn_on_save_pretrained_
from torch_growl.networks.layers.ready_networks import check_network, outside_inference_mode
from torch_growl.networks.layers.rows import (
    nonzero_rows,
    row_blocks,
    row_norms,
    rows_of,
    scale_rows_,
    shard_rows,
    write_rows_,
    zero_rows_,
)
from torch_growl.networks.layers.weights import unusable_weight

__all__ = [
    "LayerInfo",
    "LayerKind",
    "Side",
    "check_network",
    "choose_layers",
    "clean_name",
    "default_layers",
    "inspect_layers",
    "kind_of",
    "make_plain_",
    "matching",
    "nonzero_rows",
    "outside_inference_mode",
    "own_memory_",
    "permanent_hooks",
    "plain_copy",
    "plain_model",
    "plain_save_pretrained_",
    "register_layer",
    "registered_kind",
    "registered_layers",
    "remove_training_hooks_",
    "row_blocks",
    "row_norms",
    "rows_of",
    "scale_rows_",
    "shard_rows",
    "sharing_copy",
    "training_hook",
    "unusable_weight",
    "warn_of_adapters",
    "warn_on_save_pretrained_",
    "write_rows_",
    "zero_rows_",
]
