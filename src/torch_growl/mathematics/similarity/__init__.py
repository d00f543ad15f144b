"""Similarity of rows (Zhang et al., ICLR 2018, section 4): all pairs, or only the pairs above a threshold."""

from torch_growl.mathematics.similarity.dense import as_matrix, row_similarity
from torch_growl.mathematics.similarity.sparse import similar_pairs

__all__ = ["as_matrix", "row_similarity", "similar_pairs"]
