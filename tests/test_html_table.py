"""Tables as HTML: headers, alignment, and every text escaped, in every result that a notebook shows as a table."""

from __future__ import annotations

from typing import Any, cast

import pytest
import torch
from torch import nn

import torch_growl as tg
from tests.support.compact_battery import pruned_mlp
from tests.support.html_tags import NASTY, HtmlTags
from torch_growl.html_table import html_table
from torch_growl.networks.compaction.structure import LayerCut, Structure
from torch_growl.networks.tying.tying import LayerTying

TAGS = {"table", "caption", "thead", "tbody", "tr", "th", "td"}


def test_the_table_has_headers_for_columns_and_lines() -> None:
    found = HtmlTags(html_table(["layer", "rows"], [["fc1", "64"], ["fc2", "30"]], caption="two layers"))
    assert [tag for tag, _ in found.tags] == [
        *("table", "caption", "thead", "tr", "th", "th", "tbody"),
        *("tr", "th", "td", "tr", "th", "td"),
    ]
    assert [given["scope"] for tag, given in found.tags if tag == "th"] == ["col", "col", "row", "row"]
    assert [given["style"] for tag, given in found.tags if tag == "td"] == ["text-align: right"] * 2
    assert found.texts == ["two layers", "layer", "rows", "fc1", "64", "fc2", "30"]


def test_every_text_is_escaped() -> None:
    found = HtmlTags(html_table([NASTY, NASTY], [[NASTY, NASTY]], caption=NASTY, notes=[NASTY]))
    assert found.names == TAGS | {"pre"}
    assert found.texts == [NASTY] * 6


class Nasty(nn.Module):
    """A network whose layer's name is HTML."""

    def __init__(self) -> None:
        super().__init__()
        self.add_module(NASTY.replace(".", ""), nn.Linear(6, 4))
        self.last = nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return cast(torch.Tensor, self.last(self.get_submodule(NASTY)(x)))


RESULTS: dict[str, Any] = {
    "doctor": lambda: tg.doctor(Nasty(), torch.randn(3, 6)),
    "structure": lambda: Structure((LayerCut(NASTY, 6, 4, reason=NASTY),)),
    "tying": lambda: tg.Tying((LayerTying(NASTY, tg.Partition((0, 0, -1, 1)), 3),)),
}


@pytest.mark.parametrize("name", RESULTS)
def test_names_of_layers_are_escaped_in_a_notebook(name: str) -> None:
    found = HtmlTags(RESULTS[name]()._repr_html_())
    assert NASTY in found.texts
    assert found.names - {"pre"} == TAGS


def test_a_notebook_shows_what_the_text_shows() -> None:
    network, x = pruned_mlp(), torch.randn(3, 20)
    small = tg.compact(network, x)
    for result in (tg.doctor(network, x), tg.structure_of(small), tg.measure(small, x, batch_sizes=[1], repeats=3)):
        words = " ".join(HtmlTags(result._repr_html_()).texts).split()
        assert set(str(result).split()) <= set(words), type(result)


def test_a_tying_is_a_table_of_its_layers_with_its_figures() -> None:
    tying = tg.Tying((LayerTying("fc1", tg.Partition((0, 0, -1, 1)), 3, tied=False),))
    texts = HtmlTags(tying._repr_html_()).texts
    assert texts[0] == "sparsity 25.0%, sharing 1.50, compression 2.00x"
    assert texts[-7:] == ["fc1", "4", "3", "2", "25.0%", "1.50", "left untied"]
