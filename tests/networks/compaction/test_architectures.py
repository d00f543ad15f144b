"""Real architectures with random zero and tied rows: the compact network has the same outputs and is smaller.

docs/architectures.md shows how much smaller, in which form and why, beside Torch-Pruning's results. It is made by
``python -m benchmarks.architectures.architectures``.
"""

from __future__ import annotations

import copy

import pytest
import torch

import torch_growl as tg
from benchmarks.architectures import tables, torch_pruning_cuts
from benchmarks.architectures.compare import difference, spread
from benchmarks.architectures.damage import ZERO, damage_, damaged_layers
from benchmarks.architectures.zoo import ARCHITECTURES, SOURCES, build, fresh_inputs
from torch_growl.mathematics.clustering.partition import PRUNED, Partition
from torch_growl.networks.layers import rows_of

TOLERANCE = 1e-5


def test_the_families_are_there() -> None:
    assert {source: len(builders) for source, builders in SOURCES.items()} == {
        "torchvision": 30,
        "timm": 19,
        "transformers": 11,
        "own": 7,
    }
    assert len(ARCHITECTURES) == 67  # no name twice


@pytest.mark.slow
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_damaged_network_is_compacted_exactly(name: str) -> None:
    model, inputs = build(name)
    damage_(model)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    small = tg.compact(model, inputs)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    fresh = fresh_inputs(inputs, 7)
    assert spread(model, fresh, inputs) > 100 * TOLERANCE  # the comparison needs outputs that depend on the inputs
    assert difference(model, small, fresh) <= TOLERANCE
    dense_size, size = (tg.measure(network, inputs, latency=False) for network in (model, small))
    assert size.weights < dense_size.weights
    assert size.macs < dense_size.macs


def test_damage_is_seeded_and_has_the_given_shares() -> None:
    (model, _), (again, _) = build("weight_norm convolutions"), build("weight_norm convolutions")
    other, _ = build("weight_norm convolutions")
    damage_(model)
    torch.rand(1)  # what is drawn does not depend on torch's own generator
    damage_(again)
    damage_(other, seed=1)
    for name, module in damaged_layers(model).items():
        rows = rows_of(module).detach()
        assert torch.equal(rows, rows_of(again.get_submodule(name)))
        assert not torch.equal(rows, rows_of(other.get_submodule(name)))
        labels = Partition.from_rows(rows).labels
        assert labels.count(PRUNED) == int(ZERO * len(rows))
        assert len(set(labels)) - 1 < len(rows) - labels.count(PRUNED)  # some are tied
    assert len(damaged_layers(model)) == 5


def test_a_wrong_network_would_be_found() -> None:
    model, inputs = build("GRU between Linear")
    wrong = copy.deepcopy(model)
    with torch.no_grad():
        wrong.out.weight[0, 0] += 1e-3
    assert difference(model, wrong, fresh_inputs(inputs, 7)) > TOLERANCE
    assert difference(model, copy.deepcopy(model), fresh_inputs(inputs, 7)) == 0
    with torch.no_grad():
        wrong.out.weight[0, 0] = float("nan")
    assert difference(model, wrong, fresh_inputs(inputs, 7)) == float("inf")


def test_a_reason_is_counted_without_what_is_of_one_layer() -> None:
    reasons = [
        "its output meets another tensor in add_3 (residual)",
        "its reader layer1.0.conv must stay: it is shared",
    ]
    assert [tables.general(reason) for reason in reasons] == [
        "its output meets another tensor in add (residual)",
        "its reader must stay: it is shared",
    ]


@pytest.mark.parametrize("name", ["U-Net"])
def test_torch_pruning_is_judged_by_its_outputs(name: str) -> None:
    pytest.importorskip("torch_pruning")
    found = torch_pruning_cuts.cuts(name, TOLERANCE, 120.0)
    assert {t["request"] for t in found["tried"]} == {"agreed", "own"}
    assert found["verdict"] == "correct"
    assert torch_pruning_cuts.cuts(name, -1.0, 120.0)["verdict"] == "wrong"
    stopped = torch_pruning_cuts.cuts(name, TOLERANCE, 1e-3)
    assert [(t["verdict"], t["stage"]) for t in stopped["tried"]] == [("did not finish", "graph")]
