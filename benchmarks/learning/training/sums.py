"""Trains a compact MNIST network on the sums that its first layer reads, computed once; about five times as fast.

The sums of tied inputs are linear and no weight is before them, so those of every image and every shift are computed
beforehand, together with the teacher's answers. The training is that of the compact network, step for step, without
reading the images.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from benchmarks.learning.training.fitting import Fit, fit
from torch_growl.application.data.splits import TensorSplit

__all__ = ["answers", "shifted", "train_compact"]

_CHUNK = 5_000


def shifted(x: Tensor, by: int) -> list[Tensor]:
    """Return the flat images moved to all places within ``by`` pixels, filled with black."""
    padded = nn.functional.pad(x.view(-1, 28, 28), (by, by, by, by))
    places = range(2 * by + 1)
    return [padded[:, i : i + 28, j : j + 28].reshape(len(x), -1) for i in places for j in places]


@torch.inference_mode()
def _outputs(module: nn.Module, x: Tensor) -> Tensor:
    return torch.cat([module(part) for part in x.split(_CHUNK)]).clone()


def answers(teacher: nn.Module, train: TensorSplit, by: int) -> Tensor:
    """Return the outputs of a network for every image at every shift: (shifts, n, classes)."""
    return torch.stack([_outputs(teacher, moved) for moved in shifted(train.x, by)])


class _Sums(TensorSplit):
    """Sums of a random shift of every example; its class, and the teacher's answers to this shift."""

    def __init__(self, sums: Tensor, logits: Tensor, y: Tensor) -> None:
        super().__init__(sums[0], y)
        self.sums, self.logits = sums, logits

    def batch(self, indices: Tensor, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        shift = torch.randint(len(self.sums), (len(indices),), generator=generator)
        answers = self.logits[shift, indices]
        return self.sums[shift, indices], torch.cat([self.y[indices, None].to(answers.dtype), answers], dim=1)


def train_compact(small: nn.Module, train: TensorSplit, logits: Tensor, by: int, how: Fit, seed: int) -> nn.Module:
    """Train a compact ``fc1, relu1, bn1, fc2`` in place; its centroids are trained as ``tie_`` trains them.

    A centroid of s rows is held as √s times its value, its input as the sum over √s: a step of SGD then is the paper's
    step of every row and mean over the group. Plain centroids go s times as far, and groups of a hundred pixels spoil
    one training in ten.

    Args:
        small: made by ``compact``; its fc1 sums or selects its inputs, or is a plain layer where it reads them all.
        train: the images as they are, flat; no transform is applied.
        logits: what :func:`answers` gave for the teacher.
        by: pixels that images are moved by at most.
        how: the settings.
        seed: of the order of the data and the shifts.
    """
    first = small.get_submodule("fc1")
    plain = isinstance(first, nn.Linear)
    inputs = nn.Identity() if plain else first.get_submodule("inputs")
    layer = first if plain else first.get_submodule("layer")
    root = _outputs(inputs, torch.ones(1, train.x.shape[1]))[0].sqrt()  # of the inputs summed in each
    sums = torch.stack([_outputs(inputs, moved) / root for moved in shifted(train.x, by)])
    weight = cast(Tensor, layer.weight)
    rest = [module for name, module in small.named_children() if name != "fc1"]
    model = nn.Sequential(layer, *rest)  # the very modules of the compact network
    with torch.no_grad():
        weight.mul_(root)
    fit(model, _Sums(sums, logits, train.y), how, seed)
    with torch.no_grad():
        weight.div_(root)
    return small.eval()
