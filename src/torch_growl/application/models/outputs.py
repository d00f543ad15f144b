"""Outputs of a network on a batch, which must be those that the recipe's task needs."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from torch_growl.application.tasks import Batch, Task, described
from torch_growl.errors import RecipeError, first_line
from torch_growl.networks.execution import call, tensors

__all__ = ["check_outputs"]


def check_outputs(network: nn.Module, batch: Batch, spec: str, task: Task) -> int | None:
    """Run a network in eval mode and in training mode, and return its number of classes for the task.

    Args:
        network: freshly built; its running statistics change.
        batch: two or more examples; with one, the network is run in eval mode only.
        spec: the network's name in messages.
        task: the run's.

    Returns:
        The number of classes that the labels must be below; None if the task has none.

    Raises:
        RecipeError: the network cannot be run on the batch, or its output is not what the task needs.
    """
    found = []
    for mode in ("eval", "train") if len(batch) > 1 else ("eval",):
        network.train(mode == "train")
        where = f"model.name = {spec!r}"
        try:
            with torch.no_grad():
                given = call(network, batch.inputs)
        except Exception as error:  # any error of the network's own code
            shapes = ", ".join(str(tuple(each.shape)) for each in tensors(batch.inputs))
            raise RecipeError(
                f"{where} cannot be run in {mode} mode on inputs of shape {shapes}: {first_line(error)}"
            ) from error
        output = task.output(given)
        wanted = _wanted(task, batch)
        if output is None or (fault := task.output_fault(output, batch)) == "shape":
            form = described(given) if output is None or output is given else f"{described(given)}: {described(output)}"
            raise RecipeError(f"{where} returns {form} in {mode} mode; task {task.name!r} needs {wanted}")
        if fault:
            raise RecipeError(f"task = {task.name!r}: {fault}")
        if isinstance(output, Tensor) and not output.is_floating_point():
            raise RecipeError(f"{where} returns {output.dtype} in {mode} mode; task {task.name!r} needs {wanted}")
        found.append(task.classes(output))
    if len(set(found)) > 1:
        raise RecipeError(f"{where} has {found[0]} outputs in eval mode and {found[1]} in train mode; they must agree")
    return found[0]


def _wanted(task: Task, batch: Batch) -> str:
    labels: Any = batch.labels
    return task.outputs.format(n=len(batch), labels=tuple(labels.shape) if isinstance(labels, Tensor) else "")
