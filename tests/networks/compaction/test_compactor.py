"""compact() gives the same outputs, leaves the given network untouched, and does nothing in silence."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from tests.support.attention_networks import HEADS, WIDTH, Separate
from tests.support.compact_battery import MLP, NETS, Net, pruned_mlp
from tests.support.compaction_checks import assert_same_outputs, by_name, snapshot
from torch_growl.errors import GrowlWarning
from torch_growl.networks.compaction.compactor import compact
from torch_growl.networks.compaction.shrinking import FedLayer
from torch_growl.networks.compaction.structure import structure_of


@pytest.mark.slow
@pytest.mark.parametrize(("full", "training"), [(True, True), (False, False)], ids=["full, train", "local, eval"])
@pytest.mark.parametrize("net", NETS, ids=str)
def test_outputs_are_the_same_and_the_given_network_is_not_modified(net: Net, full: bool, training: bool) -> None:
    model = net.trained().train(training)
    x = net.input()
    before, state = snapshot(model), torch.random.get_rng_state()
    small = compact(model, x, full=full)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert snapshot(model) == before
    assert_same_outputs(model, small, net.input())
    cut = tuple(layer.name for layer in structure_of(small).layers if layer.kept is not None)
    assert cut == (net.cut if full else ())
    assert all(module.training is training for module in small.modules())
    assert sum(p.numel() for p in small.parameters()) < sum(p.numel() for p in model.parameters())
    frozen = not any(p.requires_grad for p in model.parameters())
    assert all(p.requires_grad is not frozen and p.dtype == net.dtype for p in small.parameters())
    for name, module in model.named_modules():
        small.get_submodule(name).extra_repr()
        assert type(small.get_submodule(name)) in (type(module), FedLayer)


def test_parametrized_weights_become_plain_in_the_copy() -> None:
    class Doubled(nn.Module):
        def forward(self, weight: Tensor) -> Tensor:
            return 2 * weight

    model = pruned_mlp()
    parametrize.register_parametrization(model.fc1, "weight", Doubled())
    before = snapshot(model)
    small = compact(model, torch.randn(3, 20))
    assert snapshot(model) == before
    assert parametrize.is_parametrized(model.fc1)
    assert not any(parametrize.is_parametrized(m) for m in small.modules())
    assert_same_outputs(model, small, torch.randn(3, 20))


def test_wrappers_are_removed() -> None:
    model = pruned_mlp()
    compiled: Any = torch.compile(model, backend="eager")
    for wrapped in (nn.DataParallel(model), compiled):
        assert type(compact(wrapped, torch.randn(3, 20))) is MLP
    whole = nn.Sequential(torch.compile(pruned_mlp(), backend="eager"))
    assert type(compact(whole, torch.randn(3, 20))[0]) is MLP


@pytest.mark.parametrize(
    "inputs", [torch.randn(3, 20), (torch.randn(3, 20),), [torch.randn(3, 20)], {"x": torch.randn(3, 20)}]
)
def test_inputs_may_be_given_in_three_ways(inputs: Any) -> None:
    assert by_name(compact(pruned_mlp(), inputs))["fc1"].width == 16


def test_a_compact_network_can_be_compacted_again_and_what_its_file_is_for_is_said() -> None:
    small = compact(pruned_mlp(), torch.randn(3, 20))
    with torch.no_grad():
        small.fc3.weight[:, 4] = 0
    with pytest.warns(GrowlWarning, match=r"only be loaded into this compact network.*tg.expand"):
        again = compact(small, torch.randn(3, 20))
    assert_same_outputs(small, again, torch.randn(3, 20))
    assert by_name(again)["fc2"].outputs_left == 9


def test_a_network_with_nothing_to_remove_gives_a_warning() -> None:
    model = MLP()
    with pytest.warns(GrowlWarning, match="no zero rows and no bit-equal rows: the network is returned unchanged"):
        small = compact(model, torch.randn(3, 20))
    assert small is not model
    assert_same_outputs(model, small, torch.randn(3, 20))
    assert {layer.form for layer in structure_of(small).layers} == {"none"}


def test_compaction_gives_no_warnings() -> None:
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        compact(pruned_mlp(), torch.randn(3, 20))
    assert seen == []


def test_where_the_code_has_a_fixed_size_of_heads_whole_heads_are_removed_and_single_values_stay() -> None:
    model, x = Separate().eval(), torch.randn(5, 3, WIDTH)
    size = WIDTH // HEADS
    with torch.no_grad():
        model.last.weight[:, size : 2 * size] = 0
        model.last.weight[:, 3::size] = 0  # one value of every head
    small = compact(model, x)
    left = WIDTH - size
    assert [small.query.out_features, small.key.out_features, small.value.out_features] == [left] * 3
    assert by_name(small)["last"].width == left
    assert_same_outputs(model, small, x)
