"""What must hold of every result of ``cluster_rows``, its objective by definition, and the optimum for few rows."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tests.support.component_graph import optimum
from torch_growl.mathematics.clustering.clusters import Clustering
from torch_growl.mathematics.clustering.partition import Partition
from torch_growl.mathematics.similarity.dense import row_similarity


def net_similarity(W: Tensor, labels: Tensor, exemplars: tuple[int, ...], preference: float) -> float:
    """The objective by definition, row by row."""
    S = row_similarity(W)
    total = preference * len(exemplars)
    for i, label in enumerate(labels.tolist()):
        if label >= 0 and i != exemplars[label]:
            total += float(S[i, exemplars[label]])
    return total


def best_net_similarity(W: Tensor, preference: float) -> float:
    """The best objective over all sets of exemplars among the nonzero rows."""
    S = row_similarity(W[(W != 0).any(dim=1)]).fill_diagonal_(preference)
    return optimum(S.numpy())


def assert_clustering(W: Tensor, found: Clustering, preference: float) -> None:
    """Labels, exemplars and objective agree, and every row is with the exemplar that it is most similar to."""
    S = row_similarity(W)
    labels = found.labels
    assert labels.dtype == torch.int64
    assert labels.shape == (len(W),)
    assert torch.equal(labels == -1, (W.flatten(1) == 0).all(dim=1))
    assert found.partition == Partition.from_labels(labels)
    assert labels.tolist() == list(found.partition.labels), "numbered by first appearance"
    assert found.n_groups == found.partition.n_groups == len(found.exemplars)
    assert labels[list(found.exemplars)].tolist() == list(range(found.n_groups))
    assert found.objective == pytest.approx(net_similarity(W, labels, found.exemplars, preference), abs=1e-9)
    for i in (labels >= 0).nonzero().flatten().tolist():
        mine = float(S[i, found.exemplars[int(labels[i])]])
        assert mine >= preference - 1e-12 or i in found.exemplars
        assert i in found.exemplars or mine >= max(float(S[i, k]) for k in found.exemplars) - 1e-12
