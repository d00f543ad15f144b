"""A compact network's values in the dense one's shapes: the same outputs, removed weights zero, tied rows equal."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from torch import nn

from tests.support.compact_battery import pruned_mlp, vgg
from tests.support.compaction_checks import assert_same_outputs
from tests.support.pruned_networks import set_rows_, settle_, zero_and_tie_
from torch_growl.errors import InvalidValueError, LayerError
from torch_growl.networks.compaction.compactor import compact
from torch_growl.networks.compaction.expanding import expand, expand_, load_expanded_
from torch_growl.networks.compaction.inputs import SumInputs
from torch_growl.networks.layers import rows_of
from torch_growl.networks.storage import load, save


@pytest.mark.parametrize(
    ("make", "shape"),
    [(pruned_mlp, (3, 20)), (lambda: zero_and_tie_(settle_(vgg()), 4), (2, 3, 8, 8))],
    ids=["mlp", "vgg"],
)
@pytest.mark.parametrize("full", [False, True])
def test_the_dense_network_has_the_compact_one_s_outputs(
    make: type[nn.Module], shape: tuple[int, ...], full: bool
) -> None:
    dense, x = make().eval(), torch.randn(shape)
    small = compact(dense, x, full=full)
    empty = copy.deepcopy(dense)
    with torch.no_grad():
        for value in (*empty.parameters(), *empty.buffers()):
            value.fill_(9)
    found = expand_(empty, small)
    assert found is empty
    assert_same_outputs(dense, found, x)


def test_removed_weights_are_zero_and_tied_rows_equal() -> None:
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 2))
    set_rows_(model[0], tied=[(1, 4)])
    set_rows_(model[2], zero=[0, 5])
    before = [rows_of(layer).clone() for layer in (model[0], model[2])]
    small = compact(model, torch.randn(3, 6))
    with torch.no_grad():
        for parameter in small.parameters():
            parameter.mul_(2)
    expand_(model, small)
    first, last = rows_of(model[0]), rows_of(model[2])
    assert torch.equal(first[1], first[4])
    assert first[:, [0, 5]].abs().max() == 0
    assert model[0].bias[[0, 5]].tolist() == [0, 0]
    kept = [1, 2, 3, 4, 6, 7]
    torch.testing.assert_close(first[:, kept], 2 * before[0][:, kept])
    torch.testing.assert_close(last, 2 * before[1])


def test_removed_channels_of_a_normalisation_have_its_initial_statistics_and_no_weight() -> None:
    model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2)).eval()
    settle_(model)
    set_rows_(model[3], zero=[0, 5])
    norm = copy.deepcopy(model[1])
    small = compact(model, torch.randn(3, 6))
    for value in (model[1].weight, model[1].bias, model[1].running_mean, model[1].running_var):
        value.data.fill_(9)
    expand_(model, small)
    for name, removed in (("weight", 0), ("bias", 0), ("running_mean", 0), ("running_var", 1)):
        expected = getattr(norm, name).detach().clone()
        expected[[0, 5]] = removed
        assert torch.equal(getattr(model[1], name), expected), name


def test_steps_from_expanded_networks_make_one_structure_whose_file_the_original_loads(tmp_path: Path) -> None:
    """Tied in two steps: one sum of inputs, not one in another, and the file is the original network's."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(40, 16), nn.ReLU(), nn.Linear(16, 3))
    set_rows_(model[0], zero=[0], tied=[(1, 4), (2, 5, 7)])
    x = torch.randn(8, 40)
    small = compact(model, x)
    larger = expand(small, nn.Sequential(nn.Linear(40, 16), nn.ReLU(), nn.Linear(16, 3)))
    assert_same_outputs(small, larger, x)
    set_rows_(larger[0], tied=[(1, 4, 9)])
    set_rows_(larger[2], zero=[3])
    smaller = compact(larger, x)
    assert_same_outputs(larger, smaller, x)
    assert len([m for m in smaller.modules() if isinstance(m, SumInputs)]) == 1
    save(smaller, tmp_path / "smaller.safetensors")
    loaded = load(tmp_path / "smaller.safetensors", nn.Sequential(nn.Linear(40, 16), nn.ReLU(), nn.Linear(16, 3)))
    assert torch.equal(loaded(x), smaller(x))


def test_a_network_of_other_layers_is_refused_by_name() -> None:
    small = compact(pruned_mlp(), torch.randn(3, 20))
    with pytest.raises(LayerError, match=r"a layer 'fc1', which model lacks"):
        expand(small, nn.Sequential(nn.Linear(20, 16)))
    other = pruned_mlp()
    other.fc2 = nn.Linear(7, 5)
    with pytest.raises(LayerError, match=r"layer 'fc2' had .* inputs .* it has 7 and 5"):
        expand(small, other)
    with pytest.raises(InvalidValueError, match="no structure record"):
        expand(pruned_mlp(), pruned_mlp())


class WithoutBiases(nn.Module):
    """Channels of which some are constant, and no bias to take what they carry."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = (nn.Linear(*sizes, bias=False) for sizes in ((6, 12), (12, 12), (12, 3)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.c(torch.sigmoid(self.b(torch.relu(self.a(x)))))


def test_a_bias_that_took_constants_stays_an_added_one_over_all_steps(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model, x = WithoutBiases().eval(), torch.randn(5, 6)
    with torch.no_grad():
        model.b.weight[:4] = 0
    dense = expand(compact(model, x), model)
    with torch.no_grad():
        dense.a.weight[:3] = 0
    smaller = compact(copy.deepcopy(dense), x)
    save(smaller, tmp_path / "small.safetensors")
    loaded = load(tmp_path / "small.safetensors", WithoutBiases()).eval()
    assert loaded.a.out_features == 9
    torch.testing.assert_close(loaded(x), dense(x))
    torch.testing.assert_close(expand(loaded, WithoutBiases())(x), dense(x))


@pytest.mark.parametrize(("bias", "text"), [(True, "had a bias .* it has none"), (False, "had no bias .* it has one")])
def test_a_network_with_other_biases_is_refused(bias: bool, text: str) -> None:
    model, other = (nn.Sequential(nn.Linear(6, 8, bias=own), nn.Linear(8, 2)) for own in (bias, not bias))
    with torch.no_grad():
        model[1].weight[:, :3] = 0
    small = compact(model, torch.randn(3, 6))
    with pytest.raises(LayerError, match=text):
        expand(small, other)


def test_a_state_with_a_bias_that_the_network_lacks_is_loaded_and_compacted_to_the_same_file(tmp_path: Path) -> None:
    def make() -> nn.Module:
        return nn.Sequential(nn.Linear(6, 8), nn.Sigmoid(), nn.Linear(8, 2, bias=False))

    dense, x = make(), torch.randn(3, 6)
    with torch.no_grad():
        dense[0].weight[[1, 5]] = 0  # type: ignore[index]
    small = compact(dense, x)
    expanded = expand(small, make())
    loaded = load_expanded_(make(), expanded.state_dict())
    torch.testing.assert_close(loaded(x), dense(x))
    save(compact(loaded, x), tmp_path / "model.safetensors")
    torch.testing.assert_close(load(tmp_path / "model.safetensors", make())(x), dense(x))  # made without that bias
    with pytest.raises(RuntimeError, match="other"):
        load_expanded_(make(), {**expanded.state_dict(), "other": x})
