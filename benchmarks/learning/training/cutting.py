"""Removes rows by their norms at once, down to a size that is counted: the baseline of trainings with a target."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import torch_growl as tg
from torch_growl.networks.layers import row_norms, scale_rows_
from torch_growl.networks.targets.figure import Figure

__all__ = ["Order", "cut_"]

Order = Literal["global", "alike"]
Flags = NDArray[np.bool_]


@torch.no_grad()
def cut_(
    model: nn.Module, target: tg.Target, example: Tensor, layers: tuple[str, ...], order: Order, least: int
) -> None:
    """Set the fewest first rows to zero without which the target is met.

    Args:
        model: modified in place.
        target: what is asked for.
        example: an input.
        layers: those whose rows may go.
        order: "global": rows of all layers by their norm over the root mean square of their layer's; "alike": by their
            rank in their layer, so that every layer loses the same share.
        least: rows of each layer that stay.
    """
    figure = Figure(model, example, target)
    modules = [model.get_submodule(name) for name in layers]
    scores = []
    for module in modules:
        norms = row_norms(module).double().numpy()
        ranks = np.argsort(np.argsort(norms, kind="stable"), kind="stable")
        score = norms / np.sqrt(np.square(norms).mean()) if order == "global" else (ranks + 1) / len(ranks)
        scores.append(np.where(ranks >= len(ranks) - least, np.inf, score))
    together = np.sort(np.concatenate(scores))
    together = together[np.isfinite(together)]

    def gone(count: int) -> list[Flags]:
        return [score <= together[count - 1] for score in scores]

    low, high = 0, len(together)  # not met without any, met without all
    while high - low > 1:
        middle = (low + high) // 2
        left = figure.of(figure.counter.left(dict(zip(layers, gone(middle), strict=True))))
        low, high = (low, middle) if left <= figure.asked else (middle, high)
    for module, rows in zip(modules, gone(high), strict=True):
        scale_rows_(module, torch.from_numpy(~rows), weight=module.weight.detach())  # type: ignore[union-attr]
