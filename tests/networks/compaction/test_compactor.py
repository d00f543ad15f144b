"""compact(): the same outputs, exactly the sizes worked out by hand, the given network untouched, nothing silent."""

from __future__ import annotations

import copy
import pickle
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.utils import _pytree as pytree

from tests.support.compact_battery import MLP, NETS, FanOut, LeNet, Net, Shared, settle_, vgg, zero_and_tie_
from torch_growl.errors import CompactionError, GrowlWarning, InvalidTypeError, InvalidValueError, LayerError
from torch_growl.networks.compaction.compactor import compact
from torch_growl.networks.compaction.inputs import SelectInputs, SharedInputs, SumInputs
from torch_growl.networks.compaction.shrinking import FedLayer
from torch_growl.networks.compaction.structure import Structure, structure_of
from torch_growl.networks.execution.proof import HALF_TOLERANCE
from torch_growl.networks.layers import rows_of, write_rows_
from torch_growl.networks.storage.compact_file import load, load_dense, save


def assert_same_outputs(dense: nn.Module, small: nn.Module, x: Tensor) -> None:
    dense, small = copy.deepcopy(dense).eval(), copy.deepcopy(small).eval()
    with torch.no_grad():
        expected, found = pytree.tree_leaves(dense(x)), pytree.tree_leaves(small(x))
    assert len(expected) == len(found)
    for a, b in zip(expected, found, strict=True):
        tolerance = HALF_TOLERANCE.get(a.dtype, 1e-5)
        assert a.dtype == b.dtype
        assert (a - b).abs().max() <= tolerance * a.abs().max()


def snapshot(model: nn.Module) -> tuple[Any, ...]:
    state = {
        name: (value.clone().contiguous().view(-1).view(torch.uint8).tolist(), value.stride())
        for name, value in model.state_dict().items()
    }
    flags = [(n, m.training, type(m)) for n, m in model.named_modules()]
    return state, flags, [(n, p.requires_grad, id(p)) for n, p in model.named_parameters()]


def by_name(small: nn.Module) -> dict[str, Any]:
    return {layer.name: layer for layer in structure_of(small).layers}


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("full", [True, False], ids=["full", "local"])
@pytest.mark.parametrize("net", NETS, ids=str)
def test_answers_the_same_and_leaves_the_given_network_alone(net: Net, full: bool, training: bool) -> None:
    model = net.trained().train(training)
    before, state = snapshot(model), torch.random.get_rng_state()
    small = compact(model, net.input().clone(), full=full)
    torch.random.set_rng_state(state)
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


@pytest.mark.parametrize("net", NETS, ids=str)
def test_random_number_generator_is_left_alone(net: Net) -> None:
    model, x = net.trained(), net.input()
    before = torch.random.get_rng_state()
    compact(model, x)
    assert torch.equal(torch.random.get_rng_state(), before)


def pruned_mlp() -> MLP:
    model = settle_(MLP())
    with torch.no_grad():
        model.fc1.weight[:, [1, 2, 3]] = 0
        model.fc1.weight[:, 6] = model.fc1.weight[:, 5]
        model.fc2.weight[:, :10] = 0
        model.fc3.weight[:, [0, 11]] = 0
    return model


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
    assert "8 rows could go, but their index would take more bytes" in by_name(small)["f1"].reason


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


def test_groups_that_cannot_lose_the_same_are_left_alone() -> None:
    model = nn.Sequential(nn.Conv2d(12, 8, 3, groups=2))
    with torch.no_grad():
        model[0].weight[:4, 2:] = 0
    with pytest.warns(GrowlWarning, match="no zero rows and no bit-equal rows"):
        small = compact(model, torch.randn(2, 12, 5, 5))
    assert type(small[0]) is nn.Conv2d


def test_memory_format_is_carried_over() -> None:
    model = zero_and_tie_(vgg().to(memory_format=torch.channels_last), 4)
    small = compact(model, torch.randn(2, 3, 8, 8).to(memory_format=torch.channels_last))
    weights = [m.weight for m in small.modules() if isinstance(m, nn.Conv2d)]
    assert weights
    assert all(w.is_contiguous(memory_format=torch.channels_last) and not w.is_contiguous() for w in weights)


def test_flags_are_carried_over_one_by_one() -> None:
    model = pruned_mlp()
    model.fc1.bias.requires_grad_(False)
    model.bn.eval()
    model.fc2.eval()
    small = compact(model, torch.randn(3, 20))
    assert [n for n, p in small.named_parameters() if not p.requires_grad] == ["fc1.layer.bias"]
    assert [n for n, m in small.named_modules() if not m.training] == ["fc2", "bn"]


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


def test_a_single_layer_is_a_network_too() -> None:
    model = nn.Linear(30, 8)
    with torch.no_grad():
        model.weight[:, :20] = 0
    small = compact(model, torch.randn(3, 30))
    assert small.layer.weight.shape == (8, 10)
    assert structure_of(small).layers[0].name == ""


def test_a_module_under_two_names_stays_one() -> None:
    small = compact(zero_and_tie_(Shared()), torch.randn(3, 8))
    assert small.f is small.again
    assert isinstance(small.f, nn.Sequential)


def test_wrappers_are_taken_off() -> None:
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


def test_the_record_survives_copying_and_pickling() -> None:
    small = compact(pruned_mlp(), torch.randn(3, 20))
    record = structure_of(small)
    assert structure_of(copy.deepcopy(small)) == record
    assert pickle.loads(pickle.dumps(record)) == record
    assert isinstance(record, Structure)
    assert "20 → 16" in str(record)


def test_a_compact_network_can_be_compacted_again() -> None:
    small = compact(pruned_mlp(), torch.randn(3, 20))
    with torch.no_grad():
        small.fc3.weight[:, 4] = 0
    again = compact(small, torch.randn(3, 20))
    assert_same_outputs(small, again, torch.randn(3, 20))
    assert by_name(again)["fc2"].outputs_left == 9


def test_a_network_without_anything_to_gain_is_never_passed_over_in_silence() -> None:
    model = MLP()
    with pytest.warns(GrowlWarning, match="no zero rows and no bit-equal rows: the network is returned as it is"):
        small = compact(model, torch.randn(3, 20))
    assert small is not model
    assert_same_outputs(model, small, torch.randn(3, 20))
    assert {layer.form for layer in structure_of(small).layers} == {"none"}


def test_a_gain_smaller_than_its_index_is_named() -> None:
    model = nn.Sequential(nn.Linear(30, 2))
    with torch.no_grad():
        model[0].weight[:, 4] = 0
    with pytest.warns(GrowlWarning, match="nothing worth its index can be removed: the network is returned as it is"):
        small = compact(model, torch.randn(3, 30))
    assert by_name(small)["0"].reason.startswith("1 rows could go, but their index would take more bytes")


def test_layers_with_hooks_stay() -> None:
    model = pruned_mlp()
    model.fc2.register_forward_hook(lambda module, args, output: None)
    layers = by_name(compact(model, torch.randn(3, 20)))
    assert (layers["fc2"].form, layers["fc2"].width) == ("none", 30)
    assert "hooks" in layers["fc2"].reason
    assert layers["fc1"].reason == "its reader fc2 must stay: it has hooks, which a smaller layer would lose"


def test_reasons_are_given_when_a_cut_is_taken_back() -> None:
    cases = {net.name: net for net in NETS}
    layers = by_name(compact(cases["reads-size"].trained(), cases["reads-size"].input()))
    assert layers["f1"].reason.startswith("removing its output channels was tried and given up: output differs by")
    layers = by_name(compact(cases["reads-weight"].trained(), cases["reads-weight"].input()))
    assert layers["f1"].reason == "its weight is read by other code than its own forward"
    assert layers["f2"].form == "local"


def test_local_only_when_asked() -> None:
    layers = by_name(compact(pruned_mlp(), torch.randn(3, 20), full=False))
    assert {layer.form for layer in layers.values()} == {"local", "none"}
    assert all("left alone, as asked" in layer.reason for layer in layers.values())


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_bad_weights_are_refused(bad: float) -> None:
    model = pruned_mlp()
    with torch.no_grad():
        model.fc2.weight[0, 0] = bad
    with pytest.raises(LayerError, match="layer 'fc2' has NaN or infinite weights"):
        compact(model, torch.randn(3, 20))


def test_bad_arguments_are_refused() -> None:
    x = torch.randn(3, 20)
    with pytest.raises(InvalidTypeError, match=r"model must be a torch.nn.Module, got str"):
        compact("model", x)  # type: ignore[arg-type]
    with pytest.raises(InvalidValueError, match=r"tolerance must be in \(0, 1\)"):
        compact(MLP(), x, tolerance=0)
    with pytest.raises(InvalidTypeError, match="example_inputs must be a tensor, a tuple"):
        compact(MLP(), 3)
    with pytest.raises(InvalidValueError, match="at least one tensor"):
        compact(MLP(), ())
    with pytest.raises(CompactionError, match="does not run on example_inputs"):
        compact(MLP(), torch.randn(3, 19))
    with pytest.raises(CompactionError, match=r"own output on example_inputs is not finite"):
        compact(MLP(), torch.full((3, 20), float("nan")))
    with pytest.raises(InvalidValueError, match="no structure record"):
        structure_of(MLP())


class Says(nn.Module):
    """A layer, and something else done with what it gives."""

    def __init__(self, then: Any) -> None:
        super().__init__()
        self.f, self.then = nn.Linear(30, 8), then
        with torch.no_grad():
            self.f.weight[:, :20] = 0

    def forward(self, x: Tensor) -> Any:
        return self.then(self, self.f(x))


def test_networks_that_draw_random_numbers_are_compared_on_the_same_ones() -> None:
    model = Says(lambda self, y: nn.functional.dropout(y, 0.5, training=True) + torch.rand_like(y))
    assert compact(model, torch.randn(3, 30)).f.layer.weight.shape == (8, 10)


def test_networks_that_cannot_be_proven_are_refused() -> None:
    x = torch.randn(3, 30)
    with pytest.raises(CompactionError, match="holds no tensor"):
        compact(Says(lambda self, y: "words"), x)
    with pytest.raises(CompactionError, match=r"output differs by .* more than 1e-05 × its largest value"):
        compact(Says(lambda self, y: y + len(list(self.modules()))), x)
    with pytest.raises(CompactionError, match=r"output must be .* got"):
        compact(Says(lambda self, y: y.repeat(1, len(list(self.modules())))), x)
    with pytest.raises(CompactionError, match="nested differently"):
        compact(Says(lambda self, y: [y] * len(list(self.modules()))), x)
    with pytest.raises(CompactionError, match=r"output\[1\] \(torch.int64\) differs"):
        compact(Says(lambda self, y: (y, torch.tensor([len(list(self.modules()))]))), x)
    with pytest.raises(CompactionError, match="it raises AttributeError"):
        compact(Says(lambda self, y: y * self.f.in_features), x)
    assert compact(Says(lambda self, y: y.to(self.f.weight.dtype)), x).f.layer.weight.shape == (8, 10)
    model = Says(lambda self, y: y)
    model.kept = model.f.weight * 2  # type: ignore[assignment]
    with pytest.raises(CompactionError, match="cannot be copied"):
        compact(model, x)


def test_outputs_that_are_infinite_in_other_places_are_found() -> None:
    def then(self: Says, y: Tensor) -> Tensor:
        return y / (0 if len(list(self.modules())) > 2 else 1)

    with pytest.raises(CompactionError, match="output is not finite in other places"):
        compact(Says(then), torch.randn(3, 30))


def test_no_warnings_of_others_are_swallowed_or_made() -> None:
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        compact(pruned_mlp(), torch.randn(3, 20))
    assert seen == []


def settled(*layers: nn.Module) -> nn.Sequential:
    return settle_(nn.Sequential(*layers)).eval()


CHAINS = {
    "two linear layers": (lambda: settled(nn.Linear(9, 20), nn.Linear(20, 4), nn.ReLU()), (3, 9)),
    "without biases": (lambda: settled(nn.Linear(9, 20, bias=False), nn.Linear(20, 4, bias=False)), (3, 9)),
    "dropout and pooling": (
        lambda: settled(nn.Conv2d(3, 20, 3), nn.Dropout(), nn.AvgPool2d(2), nn.Conv2d(20, 4, 1), nn.ReLU()),
        (2, 3, 8, 8),
    ),
    "a batch normalisation": (
        lambda: settled(nn.Conv2d(3, 20, 3), nn.BatchNorm2d(20), nn.Conv2d(20, 4, 1), nn.ReLU()),
        (2, 3, 6, 6),
    ),
    "one after a bias-free convolution": (
        lambda: settled(nn.Conv2d(3, 20, 3, bias=False), nn.BatchNorm2d(20), nn.Conv2d(20, 4, 1)),
        (2, 3, 6, 6),
    ),
    "transposed": (
        lambda: settled(nn.ConvTranspose2d(3, 20, 2), nn.BatchNorm2d(20), nn.ConvTranspose2d(20, 4, 1)),
        (2, 3, 6, 6),
    ),
}


@pytest.mark.parametrize("name", CHAINS)
def test_in_a_linear_chain_the_layer_before_makes_the_sums(name: str, tmp_path: Path) -> None:
    build, shape = CHAINS[name]
    model, x = build(), torch.randn(shape)
    with torch.no_grad():
        reader = [module for module in model if type(module) in (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)][1]
        rows = rows_of(reader).clone()
        rows[6:12], rows[13:16] = rows[5].clone(), rows[12].clone()
        rows[[17, 19]] = 0
        write_rows_(reader, rows)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    small = compact(model, x)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    first, second = structure_of(small).layers
    assert (first.outputs_left, second.width) == (9, 9)
    assert not any(isinstance(module, SumInputs | SelectInputs) for module in small.modules())
    torch.testing.assert_close(small(x), model(x), rtol=1e-4, atol=1e-5)
    save(small, tmp_path / "f")
    assert torch.equal(load(tmp_path / "f", build())(x), small(x))
    torch.testing.assert_close(load_dense(tmp_path / "f", build())(x), model(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "between",
    [nn.ReLU(), nn.Sequential(nn.BatchNorm1d(20), nn.Tanh()), nn.BatchNorm1d(20, affine=False), nn.PReLU(20)],
)
def test_sums_are_not_moved_through_what_is_not_linear(between: nn.Module) -> None:
    model = settled(nn.Linear(9, 20), between, nn.Linear(20, 12))
    with torch.no_grad():
        model[2].weight[:, 6:] = model[2].weight[:, 5:6]
    small = compact(model, torch.randn(3, 9))
    assert structure_of(small).layers[0].outputs_left == 20
    assert isinstance(small[2].inputs, SumInputs)


def test_sums_are_not_moved_where_another_layer_reads_the_same() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c = nn.Linear(9, 20), nn.Linear(20, 12), nn.Linear(20, 12)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            x = self.a(x)
            return self.b(x), self.c(x)

    model = Two()
    with torch.no_grad():
        model.b.weight[:, 6:] = model.b.weight[:, 5:6]
    small = compact(model, torch.randn(3, 9))
    assert structure_of(small).layers[0].outputs_left == 20


class Three(nn.Module):
    """Three layers that read the same tensor, two of which take the same of it."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.a, self.b, self.c = nn.LayerNorm(20), nn.Linear(20, 12), nn.Linear(20, 9), nn.Linear(20, 9)
        with torch.no_grad():
            for layer in (self.a, self.b, self.c):
                layer.weight[:, 6:] = layer.weight[:, 5:6]
            self.c.weight[:, :3] = 0

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.norm(x))
        return torch.cat([self.a(x), self.b(x), self.c(x)], -1)


def test_what_two_layers_take_alike_is_computed_once(tmp_path: Path) -> None:
    model = Three()
    x = torch.randn(3, 20)
    small = compact(model, x)
    assert [layer.shares for layer in structure_of(small).layers] == [None, "a", None]
    assert small.a.inputs is small.b.inputs
    calls: list[int] = []
    for module in small.modules():
        if isinstance(module, SumInputs):
            module.register_forward_hook(lambda *_: calls.append(1))
    for _ in range(3):
        torch.testing.assert_close(small(x), model(x))
    assert len(calls) == 6
    save(small, tmp_path / "f")
    loaded = load(tmp_path / "f", Three())
    assert loaded.a.inputs is loaded.b.inputs
    assert structure_of(loaded) == structure_of(small)
    torch.testing.assert_close(load_dense(tmp_path / "f", Three())(x), model(x))
    exported = torch.export.export(loaded, (x,)).module()
    torch.testing.assert_close(exported(x), model(x))
    loaded(x).sum().backward()
    assert loaded.b.layer.weight.grad is not None
    copied = copy.deepcopy(loaded)
    assert copied.a.inputs is copied.b.inputs
    torch.testing.assert_close(pickle.loads(pickle.dumps(copied))(x), model(x))


def test_what_is_held_for_others_is_never_that_of_another_tensor() -> None:
    shared = SharedInputs(SelectInputs([0, 2], -1), 2)
    x = torch.randn(2, 3)
    first = shared(x)
    x.mul_(2)  # the same tensor, changed since
    assert torch.equal(shared(x), 2 * first)
    y = torch.randn(2, 3)
    shared(y)
    assert torch.equal(shared(x), x[:, [0, 2]])
    with torch.no_grad():
        shared(y)
    z = y.clone().requires_grad_()
    shared(z)
    assert shared(z).requires_grad
    with torch.inference_mode():
        a = torch.randn(2, 3)
        assert torch.equal(shared(a), a[:, [0, 2]])
    assert torch.equal(shared(y), y[:, [0, 2]])


@pytest.mark.parametrize("round_to", [4, 8])
def test_what_is_left_can_be_a_multiple(round_to: int) -> None:
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


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_proof_can_be_made_in_float64(dtype: torch.dtype) -> None:
    """At a tolerance that the network's own type could never hold."""
    torch.manual_seed(0)
    model, x = pruned_mlp().to(dtype), torch.randn(3, 20, dtype=dtype)
    small = compact(model, x, tolerance=1e-13, float64=True)
    assert {p.dtype for p in small.parameters()} == {dtype}
    wide, less = copy.deepcopy(model).double().eval(), copy.deepcopy(small).double().eval()
    assert (wide(x.double()) - less(x.double())).abs().max() <= 1e-13 * wide(x.double()).abs().max()
    assert structure_of(small).layers[0].outputs_left < 30
