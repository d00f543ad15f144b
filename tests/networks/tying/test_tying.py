"""The value that a tying is: its figures by the paper's formulas, its counts, JSON in and out."""

from __future__ import annotations

import pytest

from torch_growl.errors import InvalidValueError, LayerError
from torch_growl.mathematics.clustering.partition import Partition
from torch_growl.networks.tying.tying import LayerTying, Tying


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


def test_counts_and_records_are_plain_data() -> None:
    tying = chain()
    assert tying.counts() == {
        "layers": {
            "x": {"rows": 10, "nonzero": 6, "distinct": 3},
            "y": {"rows": 4, "nonzero": 3, "distinct": 2},
            "z": {"rows": 6, "nonzero": 4, "distinct": 4},
        },
        "compression": 130 / 62,
    }
    assert [list(record.values()) for record in tying.records()] == [
        ["x", 10, 6, 3, 4, "input", True],
        ["y", 4, 3, 2, 15, "input", True],
        ["z", 6, 4, 4, 5, "input", True],
    ]
    assert list(tying.records()[0]) == ["name", "rows", "nonzero", "groups", "row_length", "side", "tied"]


def test_counts_hold_no_infinite_number() -> None:
    """JSON has none: with every row pruned, and with no layer at all."""
    empty = Tying((LayerTying("x", Partition((-1, -1)), 5),))
    assert empty.compression() == float("inf")
    assert empty.counts()["compression"] == 10
    assert Tying(()).counts() == {"layers": {}, "compression": 0}


def test_a_layer_that_the_tying_lacks_is_named() -> None:
    with pytest.raises(LayerError, match="the tying has no layer 'q'; it has x, y, z"):
        chain()["q"]


def test_json_gives_the_same_tying_again() -> None:
    whole = Tying((*chain(), LayerTying("v", Partition((0, -1)), 3, "output", tied=False)))
    assert Tying.from_json(whole.to_json()) == whole
    assert Tying.from_json(whole.to_json(indent=2)) == whole


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
        ("[" * 100_000, "the tying is not JSON"),
        ('{"schema": ' + "1" * 5000 + "}", "the tying is not JSON"),
        (chain().to_json().replace("15", "-8"), "layer 'y' of the tying: row_length must be an integer ≥ 1, got -8"),
        (chain().to_json().replace("[0, 1, -1, 1]", "[]"), "layer 'y' of the tying: labels must be integers, one for"),
        (chain().to_json()[:-1] + ', "crc32": "00000000"}', "the tying: damaged: its checksum is"),
    ],
)
def test_bad_json_is_refused(text: str, words: str) -> None:
    with pytest.raises(InvalidValueError, match=words):
        Tying.from_json(text)
