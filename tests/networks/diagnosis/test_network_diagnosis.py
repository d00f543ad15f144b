"""The diagnosis shows the layers, what can be reached, what a strength does and the self-check, in this order."""

from __future__ import annotations

import torch
from torch import nn

import torch_growl as tg


def test_all_parts_follow_each_other_in_the_text() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(20, 40), nn.ReLU(), nn.Linear(40, 40), nn.ReLU(), nn.Linear(40, 6))
    found = tg.doctor(model, torch.randn(3, 20), strength=1.5, optimizer=0.1, steps=1000, check=True)
    parts = [part.splitlines() for part in str(found).split("\n\n")]
    assert [part[0].split()[0] for part in parts] == ["layer", "can", "layer", "self-check"]
    assert len(parts[0]) == 4
    assert parts[2][0].split() == ["layer", "R", "in", "1,000", "steps", "with", "this", "strength"]
    assert [line.split()[0] for line in parts[2][1:]] == ["0", "2"]
    assert found.outlook() == str(found).split("\n\n", 1)[1].splitlines()


def test_a_part_that_was_not_asked_for_is_not_there() -> None:
    found = tg.doctor(nn.Sequential(nn.Linear(20, 40), nn.ReLU(), nn.Linear(40, 6)), torch.randn(3, 20))
    assert found.check is None
    assert not found.effects
    assert len(str(found).split("\n\n")) == 2
