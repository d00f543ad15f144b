"""The tying of a network: found, its figures by the paper's formulas, JSON in and out."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

import torch_growl as tg
from torch_growl.errors import InvalidTypeError, InvalidValueError, LayerError
from torch_growl.mathematics.clustering.partition import Partition
from torch_growl.networks.layers.kinds import rows_of, write_rows_
from torch_growl.networks.tying.tying import LayerTying, Tying


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


def test_a_layer_that_would_hardly_share_is_left_untied_and_says_so() -> None:
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


def chain() -> Tying:
    """Three layers of 10, 4, 6 rows with 40, 60, 30 weights."""
    return Tying(
        (
            LayerTying("x", Partition((0, 0, 1, 1, 2, 2, -1, -1, -1, -1)), 4),
            LayerTying("y", Partition((0, 1, -1, 1)), 15),
            LayerTying("z", Partition((0, 1, 2, 3, -1, -1)), 5),
        )
    )


def test_the_papers_formulas() -> None:
    tying = chain()
    assert tying.sparsity == pytest.approx((4 + 1 + 2) / 20)
    assert tying.sharing == pytest.approx((6 + 3 + 4) / (3 + 2 + 4))
    assert tying.compression() == pytest.approx(130 / (3 * 4 + 2 * 15 + 4 * 5))
    # 1/ratio = Σ share · nz_l · nz_{l+1} · clusters/nonzeros
    share, nz, ratio = (40 / 130, 60 / 130, 30 / 130), (0.6, 0.75, 4 / 6, 1.0), (3 / 6, 2 / 3, 4 / 4)
    expected = 1 / sum(share[i] * nz[i] * nz[i + 1] * ratio[i] for i in range(3))
    assert tying.compression(chain=True) == pytest.approx(expected)


def test_table_1_counting() -> None:
    """784 rows, 80.4 % zero, sharing 3.2: the table says 16.7x on layer 1 (from rounded means)."""
    nonzero, groups = 154, 48
    labels = tuple(i % groups if i < nonzero else -1 for i in range(784))
    tying = Tying((LayerTying("fc1", Partition(labels), 300),))
    assert tying.sparsity == pytest.approx(0.804, abs=1e-3)
    assert tying.sharing == pytest.approx(3.2, abs=0.01)
    assert tying.compression() == pytest.approx(16.3, abs=0.1)


def test_json_goes_out_and_in() -> None:
    tying = tg.find_tying(trained())
    assert Tying.from_json(tying.to_json()) == tying
    assert Tying.from_json(chain().to_json(indent=2)) == chain()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "the tying is not JSON"),
        ("[]", "schema 1"),
        ('{"schema": 2, "layers": []}', "schema 1"),
        ('{"schema": 1, "layers": [3]}', "layer 0 of the tying must be an object"),
        ('{"schema": 1, "layers": [{"name": "a"}]}', "layer 0 of the tying: side must be str"),
        (chain().to_json().replace("input", "both", 1), "layer 'x' of the tying: side must be"),
        (chain().to_json().replace("-1", "null", 1), "layer 'x' of the tying: labels must be integers"),
        (chain().to_json().replace("-1", "-2", 1), "labels must be −1"),
        (chain().to_json().replace('"y"', '"x"'), "layer 'x' appears twice"),
    ],
)
def test_bad_json_is_refused(text: str, words: str) -> None:
    with pytest.raises(InvalidValueError, match=words):
        Tying.from_json(text)


def test_bad_arguments_are_named() -> None:
    model = trained()
    with pytest.raises(InvalidTypeError, match="model must be a torch.nn.Module, got NoneType"):
        tg.find_tying(None)  # type: ignore[arg-type]
    with pytest.raises(InvalidValueError, match="preference must be in \\(0, 1\\], got 1.5"):
        tg.find_tying(model, preference=1.5)
    with pytest.raises(InvalidValueError, match="max_ratio must be in"):
        tg.find_tying(model, max_ratio=0)
    with pytest.raises(InvalidValueError, match="method must be"):
        tg.find_tying(model, method="kmeans")  # type: ignore[arg-type]
    with pytest.raises(LayerError, match="the tying has no layer 'q'; it has x, y, z"):
        chain()["q"]
    model.a.weight.data[0, 0] = float("nan")
    with pytest.raises(LayerError, match="layer 'a' has NaN or infinite weights"):
        tg.find_tying(model)
