"""Outputs of a network on a batch: a run trains classifiers, so they must be one tensor of logits."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from torch_growl.errors import RecipeError, first_line

__all__ = ["count_outputs"]


def count_outputs(network: nn.Module, batch: Tensor, spec: str) -> int:
    """Run a network in eval mode and in training mode, and return its number of outputs for one example.

    Args:
        network: freshly built; its running statistics change.
        batch: inputs of two or more examples; with one, the network is run in eval mode only.
        spec: the network's name in messages.

    Raises:
        RecipeError: it cannot be run on the batch, or its output is not one floating-point tensor ``(n, outputs)``.
    """
    found = []
    for mode in ("eval", "train") if len(batch) > 1 else ("eval",):
        network.train(mode == "train")
        where = f"model.name = {spec!r}"
        try:
            with torch.no_grad():
                output = network(batch)
        except Exception as error:  # any error of the network's own code
            raise RecipeError(
                f"{where} cannot be run in {mode} mode on inputs of shape {tuple(batch.shape)}: {first_line(error)}"
            ) from error
        if not isinstance(output, Tensor) or output.ndim != 2 or len(output) != len(batch):
            raise RecipeError(
                f"{where} returns {_described(output)} in {mode} mode; growl run trains classifiers only, with "
                f"one tensor of logits, here ({len(batch)}, number of classes)"
            )
        if not output.is_floating_point():
            raise RecipeError(f"{where} returns {output.dtype} in {mode} mode; it must return logits, not classes")
        found.append(output.shape[1])
    if len(set(found)) > 1:
        raise RecipeError(f"{where} has {found[0]} outputs in eval mode and {found[1]} in train mode; they must agree")
    return int(found[0])


def _described(output: Any) -> str:
    if isinstance(output, Tensor):
        return f"a tensor of shape {tuple(output.shape)}"
    article = "an" if type(output).__name__[0] in "AEIOaeiou" else "a"
    return f"{article} {type(output).__name__}"
