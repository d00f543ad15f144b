"""Sequences λ, the OWL norm, its dual and its proximal operator, and the row-wise operator of GrOWL.

The functions of ``operators`` check their arguments; ``pooling``, ``row_scaling`` and ``shrinkage`` are compiled
kernels, loaded on use.
"""

from torch_growl.mathematics.owl.min_max import isotonic_minmax
from torch_growl.mathematics.owl.operators import owl_dual_norm, owl_norm, prox_growl, prox_owl
from torch_growl.mathematics.owl.sequences import (
    LambdaSequence,
    group_slope,
    lasso,
    oscar,
    pld,
    sequence_from_dict,
    slope,
)

__all__ = [
    "LambdaSequence",
    "group_slope",
    "isotonic_minmax",
    "lasso",
    "oscar",
    "owl_dual_norm",
    "owl_norm",
    "pld",
    "pooling",
    "prox_growl",
    "prox_owl",
    "row_scaling",
    "sequence_from_dict",
    "shrinkage",
    "slope",
]
