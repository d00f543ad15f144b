"""Partitions of rows into groups: affinity propagation with local search, a proven optimum, Ward merging.

The functions of ``clusters`` and ``ward`` check their arguments; the modules with an underscore solve connected
components of similar rows.
"""

from torch_growl.mathematics.clustering.clusters import cluster_rows
from torch_growl.mathematics.clustering.partition import PRUNED, Partition
from torch_growl.mathematics.clustering.ward import merge_rows

__all__ = ["PRUNED", "Partition", "cluster_rows", "merge_rows"]
