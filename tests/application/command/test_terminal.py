"""What the command prints: tables with every figure, and lines that are left as they are."""

from __future__ import annotations

import io
import warnings

import pytest
import torch
from rich.console import Console
from torch import nn

from torch_growl.application.command import terminal
from torch_growl.errors import GrowlWarning
from torch_growl.networks.measurement import doctor


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """The text of a console of 80 columns."""
    text = io.StringIO()
    monkeypatch.setattr(terminal, "console", Console(file=text, width=80))
    return text


def test_a_diagnosis_is_shown_with_every_cell_and_its_reasons_below(shown: io.StringIO) -> None:
    found = doctor(nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 4)), torch.randn(3, 6))
    terminal.show_diagnosis(found)
    titles, *layers = found.cells()
    lines = shown.getvalue().splitlines()
    for line, cells in zip(lines, [titles, *layers], strict=False):
        assert line.split() == " ".join(cells[:-1]).split()
    reasons = [f"{cells[0]}: {cells[-1]}" for cells in layers if cells[-1]]
    assert len(reasons) == 2
    assert lines[len(layers) + 1 :] == ["", *reasons, "92 weights, 80 MACs at batch 1"]


def test_a_line_is_printed_as_it_is(shown: io.StringIO) -> None:
    path = "/a/" + "long/" * 30 + "[red]file[/red] 1"
    terminal.show_line(path)
    assert shown.getvalue() == path + "\n"


def test_only_the_librarys_warnings_are_shown_each_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)  # put back afterwards
    terminal.show_warnings()
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        terminal.show_warnings()
        warnings.warn("[x] is left out", GrowlWarning, stacklevel=1)
        warnings.warn("something else", UserWarning, stacklevel=1)
    assert capsys.readouterr() == ("", "warning: [x] is left out\n")
