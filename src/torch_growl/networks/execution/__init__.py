"""Example inputs of a network, running it on them, comparing outputs, proving that two networks agree, timing."""

from torch_growl.networks.execution.example_inputs import (
    Inputs,
    batch_of,
    batch_size,
    call,
    copied,
    random_like,
    split_examples,
    split_inputs,
    wide,
)
from torch_growl.networks.execution.fused_layers import FewerHeads, fast_path, pack_heads_, unpack_heads_
from torch_growl.networks.execution.outputs import (
    difference,
    exact_arithmetic,
    outputs_of,
    tensors,
    tensors_in,
    without_autocast,
)
from torch_growl.networks.execution.proof import KeptChannels, Proof
from torch_growl.networks.execution.timing import WARMUP, Candidate, median_ms, threads_set

__all__ = [
    "WARMUP",
    "Candidate",
    "FewerHeads",
    "Inputs",
    "KeptChannels",
    "Proof",
    "batch_of",
    "batch_size",
    "call",
    "copied",
    "difference",
    "exact_arithmetic",
    "fast_path",
    "median_ms",
    "outputs_of",
    "pack_heads_",
    "random_like",
    "split_examples",
    "split_inputs",
    "tensors",
    "tensors_in",
    "threads_set",
    "unpack_heads_",
    "wide",
    "without_autocast",
]
