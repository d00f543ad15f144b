"""Constructs that other tools fail on, by their issue trackers: each is compacted exactly, stored and loaded.

Every construct is a row of a table in tests/support/reported_images.py or reported_sequences.py.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from tests.support.compaction_checks import assert_same_outputs, by_name
from tests.support.reported import Report
from tests.support.reported_images import MAPS, PATHS
from tests.support.reported_sequences import ATTENTION, CODE, RECURRENT, Experts
from torch_growl.errors import GrowlWarning
from torch_growl.networks.compaction.compactor import compact
from torch_growl.networks.storage.compact_file import load, save

REPORTS = [*MAPS, *PATHS, *ATTENTION, *RECURRENT, *CODE]
pytestmark = [  # torch gives these itself
    pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad=True:UserWarning"),
    pytest.mark.filterwarnings("ignore:input's size at dim=1 does not match num_features:UserWarning"),
    pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN:UserWarning"),
]


def outputs(network: nn.Module, inputs: tuple[Tensor, ...]) -> list[Tensor]:
    with torch.no_grad():
        return pytree.tree_leaves(network(*inputs))


def parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.slow
def test_no_construct_has_two_rows() -> None:
    assert len({report.name for report in REPORTS}) == len(REPORTS) == 44


@pytest.mark.slow
@pytest.mark.parametrize("report", REPORTS, ids=str)
def test_a_construct_that_other_tools_fail_on_is_compacted_exactly(report: Report, tmp_path: Path) -> None:
    model, example = report.pruned(0), report.inputs(2, 1)
    small = compact(model, example)
    new = report.inputs(3, 2)
    assert any((value.std(0) > 1e-3).any() for value in outputs(model, new))  # outputs that depend on the inputs
    assert_same_outputs(model, small, *new)
    assert parameters(small) < parameters(model)
    save(small, tmp_path / "f")
    loaded = load(tmp_path / "f", report.build(9))
    for found, wanted in zip(outputs(loaded, new), outputs(small, new), strict=True):
        assert torch.equal(found, wanted)
    cuts = by_name(small)
    assert {name for name, cut in cuts.items() if cut.outputs_left < cut.outputs} >= set(report.cut)
    if not report.cut:
        assert all(cut.reason for cut in cuts.values())
        local = compact(model, example, full=False)
        assert_same_outputs(model, local, *new)
        assert parameters(local) < parameters(model)


@pytest.mark.slow
def test_an_expert_that_is_given_no_token_is_left_and_named() -> None:
    """A layer whose inputs were empty shows nothing of what it computes, though it was called."""

    class Written(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.expert, self.head = nn.Linear(8, 12), nn.Linear(12, 4)
            self.other = nn.Sequential(nn.Linear(8, 24), nn.ReLU(), nn.Linear(24, 12))

        def forward(self, x: Tensor) -> Tensor:
            y = x.new_zeros(len(x), 12)
            chosen = x[:, 0] > 1e6
            y[chosen], y[~chosen] = self.expert(x[chosen]), self.other(x[~chosen])
            return self.head(y)

    torch.manual_seed(0)
    model = Written().eval()
    with torch.no_grad():
        model.other[2].weight[:, ::2] = 0
    with pytest.warns(GrowlWarning, match="layer 'expert' was never called"):
        small = compact(model, torch.randn(4, 8))
    cuts = by_name(small)
    assert (cuts["expert"].outputs_left, cuts["other.0"].outputs_left) == (12, 12)
    x = torch.randn(4, 8)
    x[1, 0] = 1e7
    assert_same_outputs(model, small, x)


@pytest.mark.slow
def test_experts_that_only_later_examples_reach_are_compacted() -> None:
    torch.manual_seed(0)
    model = Experts().eval()
    with torch.no_grad():
        for expert in model.experts:
            expert[2].weight[:, ::2] = 0
    small = compact(model, [torch.randn(1, 1, 12), torch.randn(2, 24, 12)])
    assert all(by_name(small)[f"experts.{number}.0"].outputs_left == 12 for number in range(3))
    assert_same_outputs(model, small, torch.randn(3, 24, 12))
