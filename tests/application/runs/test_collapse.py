"""A fall of the validation accuracy in a penalised training is named while the run goes on, and kept in its result."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.support.growl_command import growl

NETWORK = """
import torch
from torch.utils.data import TensorDataset

class Forgets(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1, self.fc2 = torch.nn.Linear(6, 16), torch.nn.Linear(16, 2)
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    def forward(self, x):
        self.steps += self.training
        y = self.fc2(self.fc1(x).relu())
        return y if self.training or not 21 <= self.steps <= 30 else -y  # wrong in eval mode after the third epoch

def data():
    x = torch.randn(400, 6, generator=torch.Generator().manual_seed(0))
    y = (x[:, 0] > 0).long()
    return {"train": TensorDataset(x[:300], y[:300]), "test": TensorDataset(x[300:], y[300:])}
"""

RECIPE = """
name: forgets
data: {name: "forgets:data"}
model: {name: "forgets:Forgets"}
dense: {epochs: 0, lr: 0.1}
train: {epochs: 4, lr: 0.1, batch_size: 27, start: fresh}
growl: {strength: 0.1}
retrain: {epochs: 1, lr: 0.1}
measure: {repeats: 1, batch_sizes: [1]}
"""


@pytest.mark.filterwarnings("always:stage train. the validation accuracy fell")
def test_a_fall_of_the_validation_accuracy_is_one_warning(
    own_module: Callable[[str, str], None], capsys: pytest.CaptureFixture[str]
) -> None:
    own_module("forgets", NETWORK)
    with open("forgets.yaml", "w") as file:
        file.write(RECIPE)
    status, _, err = growl(capsys, "run", "forgets.yaml", "--until", "train")
    assert status == 0, err
    (line,) = err.splitlines()
    assert line.startswith("warning: stage train: the validation accuracy fell to ")
    assert " in epoch 3, from " in line
