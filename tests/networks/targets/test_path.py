"""A point of a path is what compaction would leave at that moment."""

from __future__ import annotations

import torch
from torch import nn

import torch_growl as tg
from tests.support.digits_networks import accuracy, digits, mlp, train


def test_a_point_counts_the_compact_network_of_that_moment() -> None:
    torch.manual_seed(0)
    model, x, found = mlp(), digits()[0][:4], {}

    def validate(network: nn.Module) -> float:
        score = 100 * accuracy(network)
        if growl.nonzero() == rows:  # no row has gone
            return score
        measured = tg.measure(tg.compact(network, x), x, latency=False)
        found[growl.progress.step] = (measured.weights, measured.macs, measured.bytes, growl.nonzero(), score)
        return score

    target = tg.Target(accuracy_drop=20, validate=validate, reference=90)
    growl = tg.GrOWL(model, target=target, example_inputs=x, min_rows=2)
    rows = growl.nonzero()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    growl.attach(optimizer, steps=200)
    train(model, optimizer, 150)
    points = growl.progress.points
    assert len(points) > 2
    for point in points:
        assert (point.weights, point.macs, point.bytes, point.rows, point.score) == found[point.step]
