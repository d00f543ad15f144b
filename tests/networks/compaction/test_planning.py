"""The sizes of compact networks are those worked out by hand, and the reasons say why no more is removed."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.support.compact_battery import FanOut, HardView, LeNet, pruned_mlp, vgg
from tests.support.compaction_checks import assert_same_outputs, by_name
from tests.support.pruned_networks import settle_
from torch_growl.errors import GrowlWarning, InvalidValueError
from torch_growl.networks.compaction.compactor import compact
from torch_growl.networks.compaction.inputs import SelectInputs, SumInputs
from torch_growl.networks.compaction.planning import _new_sizes
from torch_growl.networks.compaction.structure import structure_of
from torch_growl.networks.storage import load, save


def test_mlp_has_the_sizes_worked_out_by_hand() -> None:
    small = compact(pruned_mlp(), torch.randn(3, 20))
    fc1 = 16 * 20 + 20  # 20 inputs − 3 zero − 1 tied; 30 outputs − 10 that fc2 drops
    fc2, fc3, bn = 20 * 10 + 10, 10 * 5 + 5, 2 * 20
    assert sum(p.numel() for p in small.parameters()) == fc1 + fc2 + fc3 + bn
    assert type(small.fc1.inputs) is SumInputs
    assert small.fc1.layer.weight.shape == (20, 16)
    assert type(small.fc2) is nn.Linear
    assert small.bn.num_features == 20
    assert small.bn.num_batches_tracked == 7
    assert structure_of(small).to_records() == [
        {"layer": "fc1", "form": "full", "rows": [20, 16], "outputs": [30, 20], "reason": ""},
        {"layer": "fc2", "form": "full", "rows": [30, 20], "outputs": [12, 10], "reason": ""},
        {
            "layer": "fc3",
            "form": "full",
            "rows": [12, 10],
            "outputs": [5, 5],
            "reason": "its output is an output of the network",
        },
    ]


def test_lenet_has_the_sizes_worked_out_by_hand() -> None:
    model = LeNet()
    with torch.no_grad():
        model.c2.weight[:, [0, 4]] = 0
        model.f1.weight.view(24, 16, 16)[:, [3, 5, 15]] = 0  # three whole maps of 4 × 4
        model.f1.weight.view(24, 16, 16)[:, 7, :8] = 0  # half a map: eight inputs, selected away
        model.f2.weight[:, [1]] = 0
        model.f3.weight[:, [2, 3]] = 0
    small = compact(model, torch.randn(2, 1, 28, 28))
    sizes = {name: tuple(p.shape) for name, p in small.named_parameters()}
    assert sizes == {
        "c1.weight": (4, 1, 5, 5),
        "c1.bias": (4,),
        "c2.weight": (13, 4, 5, 5),
        "c2.bias": (13,),
        "f1.weight": (23, 13 * 16),  # 8 × 23 weights are fewer bytes than an index of 200
        "f1.bias": (23,),
        "f2.weight": (10, 23),
        "f2.bias": (10,),
        "f3.weight": (10, 10),
        "f3.bias": (10,),
    }
    assert "8 rows could be removed, but their index would need more bytes" in by_name(small)["f1"].reason


def test_a_part_of_a_flattened_map_is_selected_where_that_pays() -> None:
    model = LeNet()
    with torch.no_grad():
        model.f1.weight.view(24, 16, 16)[:, 2:12, 1:] = 0  # 150 inputs in ten maps that stay
        model.f1.weight.view(24, 16, 16)[:, 1] = 0
    small = compact(model, torch.randn(2, 1, 28, 28))
    assert small.c2.weight.shape[0] == 15
    assert type(small.f1.inputs) is SelectInputs
    assert small.f1.layer.weight.shape == (24, 240 - 150)


def test_vgg_has_the_sizes_worked_out_by_hand() -> None:
    model = settle_(vgg())
    with torch.no_grad():
        model[4].weight[:, [0, 1, 2]] = 0
        model[8].weight[:, [11]] = 0
        model[13].weight.view(16, 10, 4)[:, [0, 9]] = 0
        model[17].weight[:, [3]] = 0
    small = compact(model, torch.randn(2, 3, 8, 8))
    shapes = {name: tuple(p.shape) for name, p in small.named_parameters() if p.ndim > 1}
    assert shapes == {
        "0.weight": (5, 3, 3, 3),
        "4.weight": (11, 5, 3, 3),
        "8.weight": (8, 11, 3, 3),
        "13.weight": (15, 32),
        "17.weight": (7, 15),
    }
    norms = {name: m.num_features for name, m in small.named_modules() if hasattr(m, "num_features")}
    assert norms == {"1": 5, "6": 11, "9": 8, "12": 32, "14": 15}
    assert torch.equal(small[9].running_var, model[9].running_var[1:9])
    assert torch.equal(small[12].running_mean, model[12].running_mean[4:36])
    assert not isinstance(small[4], nn.Sequential)


def test_removal_cascades_through_rows_that_only_fed_removed_channels() -> None:
    model = nn.Sequential(nn.Linear(9, 30), nn.ReLU(), nn.Linear(30, 20), nn.ReLU(), nn.Linear(20, 4))
    with torch.no_grad():
        model[4].weight[:, :5] = 0
        model[2].weight[5:, :12] = 0  # the first twelve only feed the five that go
        model[0].weight[12:, 0] = 0  # and this input only feeds those twelve
    small = compact(model, torch.randn(3, 9))
    layers = by_name(small)
    assert (layers["0"].width, layers["0"].outputs_left, layers["2"].outputs_left) == (8, 18, 15)


def test_the_cascade_does_not_depend_on_the_order_of_registration() -> None:
    class Backwards(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.c, self.b, self.a = nn.Linear(20, 4), nn.Linear(30, 20), nn.Linear(9, 30)

        def forward(self, x: Tensor) -> Tensor:
            return self.b_to_c(torch.relu(self.a(x)))

        def b_to_c(self, x: Tensor) -> Tensor:
            return self.c(torch.relu(self.b(x)))

    for order in (["a", "b", "c"], ["c", "b", "a"]):
        model = Backwards()
        model._modules = {name: model._modules[name] for name in order}
        with torch.no_grad():
            model.c.weight[:, :5] = 0
            model.b.weight[5:, :12] = 0
        layers = by_name(compact(model, torch.randn(3, 9)))
        assert (layers["a"].outputs_left, layers["b"].outputs_left) == (18, 15)


def test_rows_that_differ_only_in_removed_channels_are_tied() -> None:
    model = nn.Sequential(nn.Linear(9, 30), nn.ReLU(), nn.Linear(30, 4))
    with torch.no_grad():
        model[2].weight[:, :10] = 0
        model[0].weight[10:, 3] = model[0].weight[10:, 8]
    assert by_name(compact(model, torch.randn(3, 9)))["0"].width == 8


def test_readers_that_disagree_keep_the_union() -> None:
    model = FanOut()
    with torch.no_grad():
        model.left.weight[:, :10] = 0
        model.right.weight[:, 5:15] = 0
    small = compact(model, torch.randn(3, 8))
    layers = by_name(small)
    assert layers["stem"].kept == (*range(5), *range(10, 30))
    assert type(small.left.inputs) is SelectInputs
    assert small.left.inputs.index.tolist() == list(range(5, 25))
    assert small.right.inputs.index.tolist() == [*range(5), *range(10, 25)]


def test_a_layer_of_zero_rows_keeps_one_and_says_so() -> None:
    model = nn.Sequential(nn.Linear(9, 30), nn.ReLU(), nn.Linear(30, 4))
    nn.init.zeros_(model[2].weight)
    small = compact(model, torch.randn(3, 9))
    layers = by_name(small)
    assert (layers["0"].outputs_left, layers["2"].width) == (1, 1)
    assert "all its rows are zero; one is kept" in layers["2"].reason
    assert_same_outputs(model, small, torch.randn(3, 9))


@pytest.mark.parametrize("fewer", [0, 1])
def test_groups_of_unequal_counts_are_padded_with_zero_rows(fewer: int) -> None:
    model = nn.Sequential(nn.Conv2d(12, 8, 3, groups=2))
    with torch.no_grad():
        model[0].weight[:4, 3 - (fewer == 0) :] = 0  # one group keeps two rows, the other three
        model[0].weight[4:, 3 - (fewer == 1) :] = 0
    small = compact(model, torch.randn(2, 12, 5, 5))
    assert small[0].layer.weight.shape == (8, 3, 3, 3)
    assert not small[0].layer.weight[4 * fewer : 4 * fewer + 4, 2].any()
    assert small[0].inputs.index.tolist() == ([0, 1, 0, 6, 7, 8] if fewer == 0 else [0, 1, 2, 6, 7, 6])
    assert_same_outputs(model, small, torch.randn(2, 12, 5, 5))


def test_groups_without_a_common_number_of_zero_rows_are_unchanged() -> None:
    model = nn.Sequential(nn.Conv2d(12, 8, 3, groups=2))
    with torch.no_grad():
        model[0].weight[:4, 2:] = 0
    with pytest.warns(GrowlWarning, match="no zero rows and no bit-equal rows"):
        small = compact(model, torch.randn(2, 12, 5, 5))
    assert type(small[0]) is nn.Conv2d


def test_a_removal_smaller_than_its_index_is_reported() -> None:
    model = nn.Sequential(nn.Linear(30, 2))
    with torch.no_grad():
        model[0].weight[:, 4] = 0
    with pytest.warns(GrowlWarning, match="no removal saves more bytes than its index needs: the network is returned"):
        small = compact(model, torch.randn(3, 30))
    assert by_name(small)["0"].reason.startswith("1 row could be removed, but their index would need more bytes")


def test_layers_with_hooks_stay() -> None:
    model = pruned_mlp()
    model.fc2.register_forward_hook(lambda module, args, output: None)
    layers = by_name(compact(model, torch.randn(3, 20)))
    assert (layers["fc2"].form, layers["fc2"].width) == ("none", 30)
    assert "hooks" in layers["fc2"].reason
    assert layers["fc1"].reason == "its reader fc2 must stay: it has hooks, which a smaller layer would lose"


def test_full_false_removes_only_inputs() -> None:
    layers = by_name(compact(pruned_mlp(), torch.randn(3, 20), full=False))
    assert {layer.form for layer in layers.values()} == {"local", "none"}
    assert all("turned off (full=False)" in layer.reason for layer in layers.values())


@pytest.mark.parametrize("round_to", [4, 8])
def test_sizes_are_rounded_up_to_a_multiple(round_to: int) -> None:
    model, x = pruned_mlp(), torch.randn(3, 20)
    small = compact(model, x, round_to=round_to)
    assert_same_outputs(model, small, x)
    sizes = [(layer.inputs, layer.width, layer.outputs, layer.outputs_left) for layer in structure_of(small).layers]
    for inputs, width, outputs, left in sizes:
        assert width % round_to == 0 or width == inputs
        assert left % round_to == 0 or left == outputs
    assert any(width < inputs for inputs, width, _, _ in sizes)
    with pytest.raises(InvalidValueError, match="round_to must be an integer ≥ 1"):
        compact(model, x, round_to=0)


@pytest.mark.parametrize(
    ("norm", "attribute"),
    [
        (lambda: nn.BatchNorm2d(8), "num_features"),
        (lambda: nn.BatchNorm2d(8, affine=False), "num_features"),
        (lambda: nn.BatchNorm2d(8, affine=False, track_running_stats=False), "num_features"),
        (lambda: nn.InstanceNorm2d(8), "num_features"),
        (lambda: nn.InstanceNorm2d(8, affine=True), "num_features"),
        (lambda: nn.InstanceNorm2d(8, track_running_stats=True), "num_features"),
        (lambda: nn.GroupNorm(8, 8), "num_channels"),
        (lambda: nn.GroupNorm(8, 8, affine=False), "num_channels"),
    ],
    ids=[
        "batch",
        "batch, plain",
        "batch, bare",
        "instance",
        "instance, affine",
        "instance, stats",
        "group",
        "group, bare",
    ],
)
def test_a_normalisation_states_the_number_of_channels_that_are_left(
    norm: Callable[[], nn.Module], attribute: str, tmp_path: Path
) -> None:
    """With and without parameters; torch warns of another number, and a warning is an error here."""
    build = partial(nn.Sequential, nn.Conv2d(3, 8, 3))
    model = build(norm(), nn.ReLU(), nn.Conv2d(8, 4, 1)).eval()
    with torch.no_grad():
        model[3].weight[:, :3] = 0
    x = torch.randn(2, 3, 7, 7)
    small = compact(model, x)
    assert getattr(small[1], attribute) == small[0].out_channels == 5
    assert_same_outputs(model, small, x)
    save(small, tmp_path / "small.safetensors")
    loaded = load(tmp_path / "small.safetensors", build(norm(), nn.ReLU(), nn.Conv2d(8, 4, 1)).eval())
    assert getattr(loaded[1], attribute) == 5
    assert_same_outputs(model, loaded, x)


def test_a_bare_normalisation_that_is_called_with_two_sizes_stays_as_it_is() -> None:
    norm = nn.BatchNorm2d(8, affine=False, track_running_stats=False)
    model = nn.Sequential(nn.Conv2d(3, 8, 1), norm, nn.Conv2d(8, 8, 1), norm, nn.Conv2d(8, 4, 1)).eval()
    with torch.no_grad():
        model[2].weight[:, :3] = 0
        model[4].weight[:, :2] = 0
    small = compact(model, x := torch.randn(2, 3, 5, 5))
    assert (small[0].out_channels, small[2].out_channels, small[1].num_features) == (5, 6, 8)
    assert_same_outputs(model, small, x)


def test_a_layer_of_zeros_after_a_size_written_into_forward_falls_back_to_the_local_form() -> None:
    model = HardView().eval()
    with torch.no_grad():
        model.f1.weight.zero_()
    small = compact(model, x := torch.randn(2, 3, 6, 6))
    found = by_name(small)["f1"]
    assert (found.form, found.width, found.reason) == ("local", 1, "all its rows are zero; one is kept")
    assert by_name(small)["c"].outputs_left == 6
    assert_same_outputs(model, small, x)


class SquareHeads(nn.Module):
    """Attention with as many heads as each has values, and one layer for queries, keys and values."""

    def __init__(self) -> None:
        super().__init__()
        self.num_heads, self.head_dim = 4, 4
        self.qkv, self.proj = nn.Linear(8, 48), nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).view(*x.shape[:2], 3, self.num_heads, self.head_dim).permute(2, 0, 3, 1, 4)
        y = nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2)
        return self.proj(y.reshape(*x.shape[:2], self.num_heads * self.head_dim))


def test_the_number_of_heads_changes_where_a_head_has_as_many_values() -> None:
    torch.manual_seed(0)
    model, x = SquareHeads().eval(), torch.randn(5, 7, 8)
    with torch.no_grad():
        model.proj.weight[:, 4:8] = 0
    small = compact(model, x)
    assert (small.num_heads, small.head_dim, small.qkv.out_features) == (3, 4, 36)
    torch.testing.assert_close(small(x), model(x), rtol=1e-4, atol=1e-5)


def test_sizes_of_dimensions_without_channels_neither_change_nor_stay() -> None:
    """Four channels, of which two are needed, at five places; and two needed ones."""
    four, two = (np.broadcast_to(np.array(own)[:, None], (len(own), 5)) for own in ([0, 1, 1, 2], [0, 2]))
    wiring: Any = SimpleNamespace(resizes=[("a", four), ("b", two)])
    assert _new_sizes(wiring, np.array([True, False, True])) == {"a": ({4: 2}, set()), "b": ({}, {2})}
