"""A pause in a training changes nothing of it."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from torch import nn

from torch_growl.networks.optimizers import kept_random_state, paused


def numbers() -> tuple[float, ...]:
    return torch.rand(1).item(), float(np.random.rand()), random.random()  # noqa: NPY002


def test_judging_changes_neither_modes_nor_random_numbers() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Dropout())
    model[1].eval()
    states = []
    for judged in (False, True):
        torch.manual_seed(0)
        np.random.seed(0)  # noqa: NPY002
        random.seed(0)
        if judged:
            with paused(model, []):
                assert not model.training
                assert not torch.is_grad_enabled()
                numbers()
        states.append(numbers())
    assert states[0] == states[1]
    assert [module.training for module in model] == [True, False, True]
    with pytest.raises(ZeroDivisionError), paused(model, []):
        raise ZeroDivisionError
    assert [module.training for module in model] == [True, False, True]


def test_random_states_are_kept() -> None:
    def drawn() -> tuple[float, float, float]:
        return random.random(), float(np.random.rand()), float(torch.rand(()))  # noqa: NPY002

    random.seed(1)
    np.random.seed(1)  # noqa: NPY002
    torch.manual_seed(1)
    expected = drawn()
    random.seed(1)
    np.random.seed(1)  # noqa: NPY002
    torch.manual_seed(1)
    with kept_random_state():
        drawn()
    assert drawn() == expected
