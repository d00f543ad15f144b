"""Compact networks to be exported: each has layers whose tied inputs are summed."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

import torch_growl as tg
from tests.support.pruned_networks import set_rows_
from torch_growl.application.models.perceptrons import mnist_mlp
from torch_growl.networks.compaction.inputs import SumInputs
from torch_growl.networks.layers import rows_of


class ConvNet(nn.Module):
    """A convolution, its normalisation, and layers whose inputs are summed before a convolution and a Linear."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn = nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16)
        self.conv2 = nn.Conv2d(16, 24, 3, padding=1)
        self.fc1, self.fc2 = nn.Linear(24, 40), nn.Linear(40, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.conv2(torch.relu(self.bn(self.conv1(x)))))
        return self.fc2(torch.relu(self.fc1(x.mean((2, 3)))))  # type: ignore[no-any-return]


def tied_(layer: nn.Module, groups: int) -> None:
    """Tie a layer's rows i, i + groups, i + 2 groups, … and zero every fifth row."""
    count = len(rows_of(layer))
    set_rows_(layer, zero=range(4, count, 5), tied=[range(first, count, groups) for first in range(groups)])


def compact_mlp(inputs: int = 784, groups: int = 33, hidden: int = 300) -> tuple[nn.Module, Tensor]:
    model = mnist_mlp(hidden=[hidden]) if inputs == 784 else nn.Sequential(nn.Linear(inputs, hidden), nn.ReLU())
    first = next(module for module in model.modules() if isinstance(module, nn.Linear))
    tied_(first, groups)
    x = torch.randn(4, inputs)
    return tg.compact(model.eval(), x), x


def compact_conv() -> tuple[nn.Module, Tensor]:
    model = ConvNet().eval()
    tied_(model.conv2, 6)
    tied_(model.fc1, 7)
    tied_(model.fc2, 9)
    x = torch.randn(4, 3, 8, 8)
    small = tg.compact(model, x)
    assert {type(module) for module in small.modules()} >= {SumInputs}
    return small, x


def onnx_answers(path: Path, *inputs: Tensor, threads: int = 0) -> list[Tensor]:
    """The outputs of an ONNX file, given inputs in the file's order."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    given = {entry.name: x.numpy() for entry, x in zip(session.get_inputs(), inputs, strict=True)}
    return [torch.from_numpy(value) for value in session.run(None, given)]
