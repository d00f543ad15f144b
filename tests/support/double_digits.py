"""The digits in float64, where another order of sums does not bring a row to the other side of a threshold."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from torch import nn

from torch_growl.application.data.digits import load_digits_splits
from torch_growl.application.data.splits import Augmentation, Splits, TensorSplit
from torch_growl.application.models.perceptrons import digits_mlp

__all__ = ["data", "network"]


def network(**options: Any) -> nn.Module:
    """The built-in network of the digits."""
    return digits_mlp(**options).double()


def data(**options: Any) -> Splits:
    """The digits, of which ``limit`` are for training."""
    found = load_digits_splits(**options)

    def double(split: Any) -> TensorSplit:
        moved = split.transform
        if moved is None:
            return TensorSplit(split.x, split.y, lambda x, generator: x.double())
        return TensorSplit(split.x, split.y, Augmentation(moved.draw, lambda x, drawn: moved.apply(x, drawn).double()))

    return replace(found, **{part: double(getattr(found, part)) for part in ("train", "validation", "test")})
