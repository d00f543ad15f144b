"""The layers of a step: how their rows are numbered, and which changes of a layer both steps refuse."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.utils import prune

from torch_growl.errors import LayerError
from torch_growl.networks.penalty.capturable_step import CapturableStep
from torch_growl.networks.penalty.row_step import RowStep
from torch_growl.networks.penalty.step_layers import StepLayers


def _narrowed(module: nn.Linear) -> None:
    module.weight.data = module.weight.data[:, :5]  # same parameter, address, strides and type


CHANGES = {
    "parametrized": (nn.utils.parametrizations.weight_norm, "no longer has a plain weight"),
    "pruned": (lambda m: prune.l1_unstructured(m, "weight", 0.3), "no longer has a plain weight"),
    "fewer rows": (_narrowed, "had 6 rows and now has 5; build a new GrOWL"),
    "more rows": (lambda m: setattr(m, "weight", nn.Parameter(torch.randn(7, 9))), "had 6 rows and now has 9"),
    "flat": (lambda m: setattr(m, "weight", nn.Parameter(torch.randn(42))), "where its type has 2 dimensions"),
    "memory given back": (lambda m: m.weight.untyped_storage().resize_(0), "memory was given back"),
    "integers": (lambda m: setattr(m, "weight", nn.Parameter(torch.ones(7, 6).int(), False)), "not floating point"),
    "expanded": (lambda m: setattr(m.weight, "data", torch.randn(7, 1).expand(7, 6)), "share memory"),
}


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize("kind", [RowStep, CapturableStep])
def test_a_layer_that_is_no_longer_what_it_was_is_refused(name: str, kind: type[RowStep | CapturableStep]) -> None:
    torch.manual_seed(0)
    modules = [nn.Linear(6, 5), nn.Linear(6, 7)]
    lams, pruned = (torch.full((6,), 0.1).double(),) * 2, [torch.zeros(6, dtype=torch.bool)] * 2
    step = kind(StepLayers(("a", "b"), tuple(modules), lams, "input", 1), pruned)
    step([1.0, 1.0], [1.0, 1.0], True)
    change, words = CHANGES[name]
    modules[0].weight.data = modules[0].weight.data.clone()  # this one only moved
    change(modules[1])
    before = modules[0].weight.clone()
    for _ in range(2):
        with pytest.raises(LayerError, match=f"layer 'b'.*{words}"):
            step([1.0, 1.0], [1.0, 1.0], True)
        assert torch.equal(modules[0].weight, before)


def test_rows_are_numbered_layer_after_layer() -> None:
    lams = torch.ones(6), torch.ones(2), torch.ones(3)
    layers = StepLayers(("a", "b", "c"), (nn.Linear(6, 2), nn.Linear(2, 3), nn.Linear(3, 1)), lams, "input", 1)
    assert len(layers) == 3
    assert layers.offsets == (0, 6, 8, 11)
    assert layers.rows(1) == slice(6, 8)
    assert layers.plain_weight(2) is layers.modules[2].weight
