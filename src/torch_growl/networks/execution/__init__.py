"""Example inputs of a network, running it on them, comparing outputs, proving that two networks agree, timing."""

from torch_growl.networks.execution.example_inputs import Inputs, batch_of, call, random_like, split_inputs, wide
from torch_growl.networks.execution.proof import HALF_TOLERANCE, Proof, exact_arithmetic, tensors_in
from torch_growl.networks.execution.timing import WARMUP, Candidate, median_ms, threads_set

__all__ = [
    "HALF_TOLERANCE",
    "WARMUP",
    "Candidate",
    "Inputs",
    "Proof",
    "batch_of",
    "call",
    "exact_arithmetic",
    "median_ms",
    "random_like",
    "split_inputs",
    "tensors_in",
    "threads_set",
    "wide",
]
