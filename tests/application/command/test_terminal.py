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
from torch_growl.networks.diagnosis import doctor


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """The text of a console of 80 columns."""
    text = io.StringIO()
    monkeypatch.setattr(terminal, "console", Console(file=text, width=80))
    return text


def long_names() -> nn.Module:
    inner = nn.Sequential(nn.Linear(6, 80_000), nn.ReLU(), nn.Linear(80_000, 4))
    return nn.ModuleDict({"a_block_of_layers": nn.ModuleDict({"another_block_of_layers": inner})})


class Calls(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = long_names()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.net["a_block_of_layers"]["another_block_of_layers"](x)  # type: ignore[index, no-any-return]


@pytest.mark.slow
def test_a_diagnosis_in_a_pipe_has_a_line_for_each_layer_and_one_for_its_reason(
    shown: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    found = doctor(Calls(), torch.randn(3, 6))
    terminal.show_diagnosis(found)
    titles, *layers = found.cells()
    wanted = [titles[:-1]]
    for cells in layers:
        wanted += [cells[:-1]] + [[cells[-1]]] * bool(cells[-1])
    assert len(wanted) == 5
    lines = shown.getvalue().splitlines()
    assert [line.split() for line in lines[:5]] == [" ".join(cells).split() for cells in wanted]
    assert lines[5] == "880,004 weights, 800,000 MACs at batch 1"


@pytest.mark.slow
@pytest.mark.parametrize("width", [60, 80, 120])
def test_a_diagnosis_fits_the_columns_and_no_word_is_cut(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    text = io.StringIO()
    monkeypatch.setattr(terminal, "console", Console(file=text, width=width))
    found = doctor(Calls(), torch.randn(3, 6))
    terminal.show_diagnosis(found)
    lines, words = text.getvalue().splitlines(), " ".join(text.getvalue().split())
    assert max(map(len, lines)) <= width
    for layer, cells in zip(found.layers, found.cells()[1:], strict=True):
        assert f"{layer.name} ({layer.type_name})" in lines
        assert " ".join(cells[2:7]) in words
        assert f"saves {cells[7]} weights and {cells[8]} MACs" in words
        assert cells[-1] in words


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
