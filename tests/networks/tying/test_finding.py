"""The tying of a network: groups found among similar rows, and the tying read from rows that are equal already."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

import torch_growl as tg
from torch_growl.errors import InvalidTypeError, InvalidValueError, LayerError
from torch_growl.networks.layers import rows_of, write_rows_
from torch_growl.networks.tying.finding import existing_tying, with_equal_rows
from torch_growl.networks.tying.parametrization import tied_layers


def trained() -> nn.Sequential:
    """A network whose layer 'a' has rows 0, 1, 2 nearly equal, 3 and 4 nearly equal, 5 zero, 6 and 7 alone."""
    torch.manual_seed(0)
    model = nn.Sequential()
    model.add_module("a", nn.Linear(8, 20))
    model.add_module("b", nn.Linear(20, 6))
    model.add_module("c", nn.Linear(6, 3))
    rows = torch.randn(8, 20)
    rows[1] = rows[0] + 0.01 * torch.randn(20)
    rows[2] = rows[0] + 0.01 * torch.randn(20)
    rows[4] = rows[3] + 0.01 * torch.randn(20)
    rows[5] = 0
    write_rows_(model.a, rows)
    return model


def test_it_finds_pruned_rows_and_groups() -> None:
    model = trained()
    before = copy.deepcopy(model.state_dict())
    tying = tg.find_tying(model, ["a"], preference=0.8)
    assert tying["a"].partition.labels == (0, 0, 0, 1, 1, -1, 2, 3)
    assert tying["a"].tied
    assert tying["a"].sparsity == 1 / 8
    assert tying["a"].sharing == 7 / 4
    assert tying.compression() == 8 / 4
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_a_layer_that_would_hardly_share_is_left_untied_and_marked_so() -> None:
    tying = tg.find_tying(trained(), ["a", "b"], preference=0.9)
    assert not tying["b"].tied
    assert tying["b"].partition.n_groups == 20
    assert not tg.find_tying(trained(), ["a"], max_ratio=0.5)["a"].tied
    assert tg.find_tying(trained(), ["a"], max_ratio=0.5)["a"].partition.labels == (0, 1, 2, 3, 4, -1, 5, 6)
    assert tg.find_tying(trained(), ["a"], method="none")["a"].partition.nonzero == 7


def test_layers_can_have_preferences_of_their_own() -> None:
    tying = tg.find_tying(trained(), ["a", "b"], preference=0.8, overrides={"*": 0.5, "a": 1.0}, max_ratio=1.0)
    assert tying["a"].partition.n_groups == 7
    assert tying["b"].partition == tg.find_tying(trained(), ["b"], preference=0.5, max_ratio=1.0)["b"].partition
    assert tying["b"].partition.n_groups < 20
    with pytest.raises(LayerError, match="unknown layer 'q'"):
        tg.find_tying(trained(), ["a"], overrides={"q": 0.5})
    with pytest.raises(InvalidValueError, match="preference must be in"):
        tg.find_tying(trained(), ["a"], overrides={"a": 0})


def test_output_rows_are_grouped_too() -> None:
    model = trained()
    rows = rows_of(model.a, "output").detach().clone()
    rows[7] = rows[3]
    write_rows_(model.a, rows, "output")
    found = tg.find_tying(model, ["a"], side="output", max_ratio=1.0)["a"]
    assert found.side == "output"
    assert found.partition.labels[7] == found.partition.labels[3]
    assert found.partition.n_rows == 20


def test_bad_arguments_are_named() -> None:
    model = trained()
    with pytest.raises(InvalidTypeError, match="model must be a torch.nn.Module, got NoneType"):
        tg.find_tying(None)  # type: ignore[arg-type]
    with pytest.raises(InvalidValueError, match="preference must be in \\(0, 1\\], got 1.5"):
        tg.find_tying(model, preference=1.5)
    with pytest.raises(InvalidValueError, match="max_ratio must be in \\(0, 1\\], got 0"):
        tg.find_tying(model, max_ratio=0)
    with pytest.raises(InvalidTypeError, match="preference must be a number, got str"):
        tg.find_tying(model, overrides={"a": "0.5"})  # type: ignore[dict-item]
    with pytest.raises(
        InvalidValueError, match="method must be 'affinity', 'exact', 'ward', 'least-squares' or 'none'"
    ):
        tg.find_tying(model, method="kmeans")  # type: ignore[arg-type]
    model.a.weight.data[0, 0] = float("nan")
    with pytest.raises(LayerError, match="layer 'a' has NaN or infinite weights"):
        tg.find_tying(model)


# ── read from equal rows ────────────────────────────────────────────────────────────────────────────────────────


def test_existing_rows_are_read_as_they_are() -> None:
    model = trained()
    rows = rows_of(model.a).detach().clone()
    rows[2] = rows[0]
    rows[7] = 0
    write_rows_(model.a, rows)
    tying = existing_tying(model, ("b", "a", "unknown"))
    assert [layer.name for layer in tying] == ["a", "b"], "in the network's order"
    assert tying["a"].partition.labels == (0, 1, 0, 2, 3, -1, 4, -1)
    assert (tying["a"].row_length, tying["a"].side) == (20, "input")
    assert tying["b"].partition.labels == tuple(range(20))


def test_existing_rows_of_the_other_side() -> None:
    model = trained()
    rows = rows_of(model.b, "output").detach().clone()
    rows[4] = rows[1]
    write_rows_(model.b, rows, "output")
    found = existing_tying(model, ("b",), "output")["b"]
    assert found.partition.labels == (0, 1, 2, 3, 1, 4)
    assert (found.row_length, found.side) == (20, "output")


def test_a_tied_layer_has_the_tying_that_is_enforced_though_groups_become_equal() -> None:
    model = trained()
    tying = tg.find_tying(model, ["a"], preference=0.8)
    tg.tie_(model, tying)
    original = tied_layers(model)["a"][0].parametrizations.weight.original
    with torch.no_grad():
        original.zero_()  # all rows are equal now, and zero
    assert existing_tying(model, ("a",))["a"].partition == tying["a"].partition
    tg.untie_(model)
    assert existing_tying(model, ("a",))["a"].partition.nonzero == 0


def test_ward_merges_down_to_numbers_and_shares() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(20, 16), nn.ReLU(), nn.Linear(16, 4))
    model[0].weight.data[:, 15:] = 0
    tying = tg.find_tying(model, ["0", "2"], method="ward", groups={"0": 6, "2": 0.5})
    assert tying["0"].partition.n_groups == 6
    assert tying["0"].partition.nonzero == 15
    assert tying["2"].partition.n_groups == 8
    tied = tg.tie_(model, tying)
    again = tg.find_tying(tg.untie_(tied), ["0"], method="ward", groups=3)  # continues from rows that are equal already
    coarse = dict(zip(tying["0"].partition.labels, again["0"].partition.labels, strict=True))
    assert [coarse[label] for label in tying["0"].partition.labels] == list(again["0"].partition.labels)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"method": "ward"}, "go together"),
        ({"groups": 3}, "go together"),
        ({"method": "ward", "groups": 0}, "groups must be a whole number ≥ 1 or a share between 0 and 1, got 0"),
        ({"method": "ward", "groups": 1.5}, "groups must be a whole number ≥ 1 or a share .*, got 1.5"),
        ({"method": "ward", "groups": "3"}, "groups must be a number, got str"),
        ({"method": "ward", "groups": {"nowhere": 3}}, "unknown layer 'nowhere'"),
    ],
)
def test_bad_groups_are_refused(given: dict[str, object], words: str) -> None:
    with pytest.raises(tg.GrowlError, match=words):
        tg.find_tying(nn.Sequential(nn.Linear(4, 4)), ["0"], **given)  # type: ignore[arg-type]


def seen_alike() -> tuple[nn.Module, list[torch.Tensor]]:
    """A network whose second layer has rows that differ, and inputs of which 8 and 9 are those of 0 and 1 again."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(10, 12), nn.ReLU(), nn.BatchNorm1d(12), nn.Linear(12, 3)).eval()
    x = [torch.randn(60, 8) for _ in range(3)]
    return model, [torch.cat([batch, batch[:, :2]], 1) for batch in x]


def test_ties_by_least_squares_lose_nothing_where_inputs_are_equal_though_weights_differ() -> None:
    model, inputs = seen_alike()
    errors = {}
    for method, given in {"least-squares": {"inputs": inputs}, "ward": {}}.items():
        tying = tg.find_tying(model, ["0"], method=method, groups={"0": 8}, **given)  # type: ignore[arg-type]
        assert tying["0"].partition.n_groups == 8
        errors[method] = tg.compensate_(tg.tie_(copy.deepcopy(model), tying), model, inputs).after
    assert errors["least-squares"] < 1e-9 < 1e-4 < errors["ward"]


def test_rows_that_are_tied_already_stay_so_by_least_squares() -> None:
    model, inputs = seen_alike()
    first = tg.find_tying(model, ["0"], method="least-squares", groups=6, inputs=inputs)
    more = tg.find_tying(tg.untie_(tg.tie_(model, first)), ["0"], method="least-squares", groups=0.4, inputs=inputs[0])
    coarse = dict(zip(first["0"].partition.labels, more["0"].partition.labels, strict=True))
    assert [coarse[label] for label in first["0"].partition.labels] == list(more["0"].partition.labels)
    assert more["0"].partition.n_groups == 4


def test_layers_without_groups_are_left_untied_by_least_squares() -> None:
    model, inputs = seen_alike()
    tying = tg.find_tying(model, ["0", "3"], method="least-squares", groups={"3": 6}, inputs=inputs)
    assert (tying["0"].tied, tying["3"].tied) == (False, True)
    assert (tying["0"].partition.n_groups, tying["3"].partition.n_groups) == (10, 6)


def test_convolutions_are_tied_by_all_their_taps() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(4, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 5, 3)).eval()
    inputs = [torch.randn(8, 3, 7, 7)[:, [0, 1, 2, 1]] for _ in range(2)]
    found = tg.find_tying(model, ["0"], method="least-squares", groups=3, inputs=inputs)
    assert found["0"].partition.labels == (0, 1, 2, 1)
    torch.testing.assert_close(tg.tie_(copy.deepcopy(model), found)(inputs[0]), model(inputs[0]))


@pytest.mark.parametrize(
    ("layer", "given", "words"),
    [
        ("0", {"groups": 3}, "least-squares' and inputs= go together"),
        ("0", {"inputs": torch.randn(4, 10)}, "and groups= go together"),
        ("0", {"groups": 3, "inputs": torch.randn(4, 10), "side": "output"}, "side must be 'input'"),
        ("0", {"groups": 3, "inputs": torch.full((4, 10), float("nan"))}, "layer '0' has NaN or infinite inputs"),
        ("0", {"groups": 3, "inputs": []}, "at least one example"),
    ],
)
def test_what_least_squares_cannot_use_is_refused(layer: str, given: dict[str, object], words: str) -> None:
    with pytest.raises(tg.GrowlError, match=words):
        tg.find_tying(seen_alike()[0], [layer], method="least-squares", **given)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("layer", "words"),
    [
        (nn.Conv2d(4, 4, 3, groups=2), "layer '0' \\(Conv2d\\) cannot be tied by least squares: it has groups"),
        (nn.ConvTranspose2d(4, 4, 3), "layer '0' \\(ConvTranspose2d\\) cannot be tied .* it is transposed"),
    ],
)
def test_layers_that_least_squares_does_not_serve_are_named(layer: nn.Module, words: str) -> None:
    with pytest.raises(LayerError, match=words):
        tg.find_tying(nn.Sequential(layer), ["0"], method="least-squares", groups=2, inputs=torch.randn(2, 4, 8, 8))


def test_rows_that_are_equal_stay_so_in_layers_that_are_left_untied() -> None:
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(5, 4), torch.nn.Linear(4, 3))
    with torch.no_grad():
        for layer in model:
            layer.weight[:, 2] = layer.weight[:, 0]
            layer.weight[:, 1] = 0
    found = tg.find_tying(model, ["0", "1"], method="ward", groups={"1": 1})
    kept = with_equal_rows(found, model)
    assert kept["0"].partition.labels == (0, -1, 0, 1, 2)
    assert kept["1"] == found["1"]
    assert found["0"].partition.labels == (0, -1, 1, 2, 3)
