"""Exports to ExecuTorch, run by its runtime."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import torch_growl as tg
from tests.support.pruned_networks import zero_and_tie_
from torch_growl.application.models.convolutional import lenet5, vgg16
from torch_growl.application.models.perceptrons import mnist_mlp

EXECUTORCH = {
    "mlp": lambda: (mnist_mlp(), (2, 784)),
    "lenet5": lambda: (lenet5(), (1, 1, 28, 28)),
    "vgg16": lambda: (vgg16(width=0.125), (1, 3, 32, 32)),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mlp", "lenet5", pytest.param("vgg16", marks=pytest.mark.slow)])
def test_executorch_runs_the_reference_networks(name: str, tmp_path: Path) -> None:
    pytest.importorskip("executorch")
    made, shape = EXECUTORCH[name]()
    blocks = {"lenet5": 16}.get(name, 1)
    x = torch.randn(shape)
    small = tg.compact(zero_and_tie_(made, blocks).eval(), x)
    written = tg.export_executorch(small, x, tmp_path / "small.pte")
    assert written.difference <= 1e-4
    assert not written.dynamic_batch
    assert 0 < written.bytes < sum(value.nbytes for value in made.state_dict().values())
