"""Weights that are spread over processes: one process's part, sums over parts, FSDP2's modules, joint batch norm."""

from torch_growl.networks.sharding.batch_norm import joint_batch_norms
from torch_growl.networks.sharding.exchange import (
    Pending,
    Rate,
    as_first_,
    differentiable_norms,
    on_several_processes,
    part_of,
    summed,
)
from torch_growl.networks.sharding.shards import (
    Shard,
    gathered,
    is_sharded,
    local_of,
    shard_of,
    unusable_placement,
    whole_shaped,
    write_part_,
)
from torch_growl.networks.sharding.statistics import ShardedStatistic, part_of_whole, pending_length
from torch_growl.networks.sharding.whole_copies import is_spread, whole_copy
from torch_growl.networks.sharding.whole_states import load_whole_, load_whole_optimizer_, whole_state
from torch_growl.networks.sharding.wrapped_types import is_flat, layer_type, reshard_, sharded_modules

__all__ = [
    "Pending",
    "Rate",
    "Shard",
    "ShardedStatistic",
    "as_first_",
    "differentiable_norms",
    "gathered",
    "is_flat",
    "is_sharded",
    "is_spread",
    "joint_batch_norms",
    "layer_type",
    "load_whole_",
    "load_whole_optimizer_",
    "local_of",
    "on_several_processes",
    "part_of",
    "part_of_whole",
    "pending_length",
    "reshard_",
    "shard_of",
    "sharded_modules",
    "summed",
    "unusable_placement",
    "whole_copy",
    "whole_shaped",
    "whole_state",
    "write_part_",
]
