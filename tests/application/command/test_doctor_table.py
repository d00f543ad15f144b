"""The table of ``growl doctor`` holds every cell of the diagnosis."""

from __future__ import annotations

import torch
from rich.console import Console
from torch import nn

from torch_growl.application.command.doctor_table import doctor_table
from torch_growl.networks.measurement import doctor


def test_every_cell_is_drawn_in_its_line() -> None:
    found = doctor(nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 4)), torch.randn(3, 6))
    console = Console(width=200)
    with console.capture() as capture:
        console.print(doctor_table(found))
    drawn = capture.get().splitlines()
    assert len(drawn) == 3
    for line, cells in zip(drawn, found.cells(), strict=True):
        assert line.split() == " ".join(cells).split()
