"""Sequences λ, the OWL norm, its dual and its proximal operator, and the row-wise operator of GrOWL.

The functions of ``operators`` check their arguments; ``prox_kernel``, ``row_scaling`` and ``step_kernel`` are
compiled, and loaded on use.
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
    "prox_growl",
    "prox_kernel",
    "prox_owl",
    "row_scaling",
    "sequence_from_dict",
    "slope",
    "step_kernel",
]
