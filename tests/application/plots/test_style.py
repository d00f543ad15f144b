"""What several figures draw, and the error where matplotlib is missing."""

from __future__ import annotations

import sys

import pytest
from matplotlib.text import Text

import torch_growl as tg
from torch_growl.application.plots.style import ink, plain, spread
from torch_growl.errors import GrowlError


def test_without_matplotlib_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(GrowlError, match=r"a figure needs matplotlib.*pip install matplotlib") as caught:
        tg.plot_curve({}, dense=0.9)
    assert "\n" not in str(caught.value)


def test_of_too_many_indices_some_are_chosen_evenly() -> None:
    assert spread(4, 5).tolist() == [0, 1, 2, 3]
    assert spread(101, 5).tolist() == [0, 25, 50, 75, 100]


def test_dollar_signs_are_no_mathematics_and_numbers_are_readable_on_every_colour() -> None:
    assert plain("a$b$") == r"a\$b\$"
    assert Text(text=plain(r"a\$b"))._preprocess_math(plain(r"a\$b")) == (r"a\$b", False)  # type: ignore[attr-defined]
    assert [ink(colour) for colour in ("#FFFFFF", "#F0E442", "#332288", "#000000")] == [
        "black",
        "black",
        "white",
        "white",
    ]
