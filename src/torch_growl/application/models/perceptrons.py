"""Multilayer perceptrons: the paper's 784-300-10 for MNIST, and 64-300-100-10 for scikit-learn's digits."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from itertools import pairwise

from torch import nn

from torch_growl.application.models.initialisation import paper_normal_
from torch_growl.arguments import check_choice, check_count
from torch_growl.errors import InvalidValueError

__all__ = ["digits_mlp", "mlp", "mnist_mlp"]


def mlp(sizes: Sequence[int], *, batch_norm: bool = True, init: str = "torch") -> nn.Sequential:
    """Build a multilayer perceptron ``fc1, relu1, bn1, fc2, …, fcN`` whose outputs are class scores.

    Args:
        sizes: numbers of inputs, hidden units and outputs: two or more integers ≥ 1.
        batch_norm: add a BatchNorm1d after every ReLU, as in the paper.
        init: ``"torch"``: torch's initial weights; ``"paper"``: normal with variance 2 / (outputs of the layer), biases
            0.1, as in the paper's code.

    Raises:
        InvalidValueError: ``sizes`` or ``init`` is something else.
    """
    check_choice("init", init, ("torch", "paper"))
    if isinstance(sizes, str) or len(sizes) < 2 or not all(type(size) is int and size >= 1 for size in sizes):
        raise InvalidValueError(f"sizes must be two or more integers ≥ 1, got {sizes!r}")
    last = len(sizes) - 1
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for i, (inputs, outputs) in enumerate(pairwise(sizes), start=1):
        layers[f"fc{i}"] = linear = nn.Linear(inputs, outputs)
        if init == "paper":
            paper_normal_(linear)
        if i < last:
            layers[f"relu{i}"] = nn.ReLU()
            if batch_norm:
                layers[f"bn{i}"] = nn.BatchNorm1d(outputs)
    return nn.Sequential(layers)


def mnist_mlp(*, hidden: Sequence[int] = (300,), batch_norm: bool = True, init: str = "paper") -> nn.Sequential:
    """Build the paper's 784-300-10 for flat MNIST: fc300-ReLU-BN-fc10; ``hidden``: widths of the hidden layers."""
    return mlp([784, *hidden, 10], batch_norm=batch_norm, init=init)


def digits_mlp(*, size: int = 8, hidden: Sequence[int] = (300, 100), batch_norm: bool = True) -> nn.Sequential:
    """Build 64-300-100-10 for scikit-learn's 8×8 digits.

    Args:
        size: height and width of the images, which the dataset enlarges.
        hidden: widths of the hidden layers.
        batch_norm: add a BatchNorm1d after every ReLU.

    Raises:
        InvalidTypeError, InvalidValueError: ``size`` is not an integer ≥ 1, or ``hidden`` is something else.
    """
    return mlp([check_count("size", size) ** 2, *hidden, 10], batch_norm=batch_norm)
