"""Defines the networks and data of the experiment with one strength, each with an ordinary training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import AdamW, Optimizer

from benchmarks.learning.training.fitting import Fit
from torch_growl.application.data.datasets import Splits, load_cifar10, load_digits_splits, load_mnist
from torch_growl.application.models.convolutional import lenet5, vgg16
from torch_growl.application.models.perceptrons import digits_mlp, mnist_mlp
from torch_growl.application.models.residual import resnet_cifar

__all__ = ["TASKS", "Task", "TinyTransformer"]


class Block(nn.Module):
    """A pre-norm transformer block."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.out = nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """x: (b, tokens, width)."""
        y = self.norm1(x)
        parts = [
            layer(y).unflatten(2, (self.heads, -1)).transpose(1, 2) for layer in (self.query, self.key, self.value)
        ]
        x = x + self.out(F.scaled_dot_product_attention(*parts).transpose(1, 2).flatten(2))
        return cast(Tensor, x + self.down(F.gelu(self.up(self.norm2(x)))))


class TinyTransformer(nn.Module):
    """A transformer that reads an 8×8 digit as eight tokens of a line each: two blocks of width 64, four heads."""

    def __init__(self, width: int = 64, heads: int = 4, blocks: int = 2, n_classes: int = 10) -> None:
        super().__init__()
        self.embed = nn.Linear(8, width)
        self.place = nn.Parameter(0.02 * torch.randn(8, width))
        self.blocks = nn.Sequential(*(Block(width, heads) for _ in range(blocks)))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, n_classes)

    def forward(self, x: Tensor) -> Tensor:
        """x: (b, 64); gives class scores."""
        x = self.blocks(self.embed(x.view(-1, 8, 8)) + self.place)
        return cast(Tensor, self.head(self.norm(x).mean(1)))


@dataclass(frozen=True)
class Task:
    """A network, its data and its training.

    Attributes:
        build: the network, freshly initialised or pretrained; given the folder of pretrained weights.
        load: the data; given the data folder.
        dense: training of the dense network; 0 epochs if it is pretrained.
        press: how it goes on under the penalty.
        retrain: how the compact network is trained.
        share: of a layer's nonzero rows that are left as groups; None: no rows are tied.
        optimizer: another one than SGD with momentum.
        every: the prox runs after so many steps.
        seeds: how many are run.
        beside: the penalties that the task is run with, "none" for as many epochs of ordinary training.
        bfloat16: products are computed in it while training, not when scored.
    """

    build: Callable[[Path], nn.Module]
    load: Callable[[Path], Splits]
    dense: Fit
    press: Fit
    retrain: Fit
    share: float | None = 0.75
    optimizer: Callable[[list[nn.Parameter]], Optimizer] | None = None
    every: int = 1
    seeds: int = 3
    beside: tuple[str, ...] = ("GrOWL",)
    bfloat16: bool = False


def _adamw(parameters: list[nn.Parameter]) -> Optimizer:
    return AdamW(parameters, lr=1e-3, weight_decay=0.01)


def _pretrained(folder: Path) -> nn.Module:
    return resnet_cifar(weights=folder / "resnet20-cifar10.safetensors")


TASKS = {
    "digits, 64-300-100-10": Task(
        lambda _: digits_mlp(),
        lambda _: load_digits_splits(),
        Fit(40, 0.05, 5e-4, batch_size=64),
        Fit(100, 0.05, 5e-4, batch_size=64),
        Fit(80, 0.02, 5e-4, distill=0.5, batch_size=64),
        beside=("GrOWL", "none"),
    ),
    "digits, transformer (AdamW)": Task(
        lambda _: TinyTransformer(),
        lambda _: load_digits_splits(),
        Fit(60, 1e-3, batch_size=64),
        Fit(100, 1e-3, batch_size=64),
        Fit(80, 1e-3, distill=0.5, batch_size=64),
        share=0.6,
        optimizer=_adamw,
        beside=("GrOWL", "none"),
    ),
    "MNIST, 784-300-10": Task(
        lambda _: mnist_mlp(init="torch"),
        lambda data: load_mnist(data, shift=1),
        Fit(15, 0.1, 5e-4),
        Fit(15, 0.1, 5e-4),
        Fit(15, 0.05, 1e-4, distill=0.5),
        share=0.4,
        every=5,
        beside=("GrOWL", "none"),
    ),
    "MNIST, LeNet-5": Task(
        lambda _: lenet5(),
        lambda data: load_mnist(data, flat=False, shift=1),
        Fit(8, 0.02, 5e-4),
        Fit(10, 0.02, 5e-4),
        Fit(12, 0.02, 1e-4, distill=0.5),
        share=0.4,
        seeds=2,
    ),
    "CIFAR-10, VGG-16 of a quarter's width": Task(
        lambda _: vgg16(width=0.25).to(memory_format=torch.channels_last),
        lambda data: load_cifar10(data, normalize="channels", padding=4),
        Fit(24, 0.1, 5e-4),
        Fit(12, 0.1, 5e-4),
        Fit(16, 0.05, 5e-4, distill=0.5),
        share=None,
        seeds=1,
        beside=("GrOWL", "group lasso", "none"),
        bfloat16=True,
    ),
    "CIFAR-10, ResNet-20": Task(
        _pretrained,
        lambda data: load_cifar10(data, normalize="channels", padding=4),
        Fit(0, 0.1),
        Fit(2, 0.03, 1e-4),
        Fit(4, 0.05, 1e-4, distill=0.5),
        share=None,
        seeds=1,
    ),
}
