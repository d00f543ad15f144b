"""The start of a training with a target: its control, which goes on from a path if one is given."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from torch_growl.arguments import check_type
from torch_growl.errors import InvalidValueError, first_line
from torch_growl.networks.execution import outputs_of, split_inputs
from torch_growl.networks.layers import plain_copy
from torch_growl.networks.paths.accuracy_drop import DropControl
from torch_growl.networks.paths.path import PruningPath
from torch_growl.networks.targets import Control, Rows, Target

__all__ = ["control_of"]


def control_of(
    model: nn.Module,
    target: Target,
    example_inputs: Any,
    layers: Sequence[Rows],
    path: PruningPath | None,
    side: str = "input",
) -> Control | DropControl:
    """Make the control of a target.

    Args:
        model: the network; held by reference.
        target: what is asked for.
        example_inputs: inputs to run a copy of the network on, as for :func:`torch_growl.compact`.
        layers: the layers whose rows may go.
        path: that of an earlier training from the same weights; None: the training begins anew.
        side: what a row is.

    Raises:
        InvalidTypeError, InvalidValueError, CompactionError: as for :class:`Control` and :class:`DropControl`; the path
            is another network's, or the network cannot be run on a batch of ``compensate``.
    """
    if path is not None:
        check_type("path", path, PruningPath)
    if isinstance(target, Target) and target.accuracy_drop is not None:
        return DropControl(model, target, example_inputs, layers, path, side)
    if path is not None:
        path.check_fits({layer.name: len(layer.lam) for layer in layers}, side)
    control = Control(model, target, example_inputs, layers, () if path is None else path.removed())
    if target.batches is not None:
        _check_batches(model, target.batches)
    return control


def _check_batches(model: nn.Module, batches: Sequence[Any]) -> None:
    """Run a copy of the network on the batches that it will be fitted on in the training."""
    network = plain_copy(model).eval()
    try:
        for batch in batches:
            outputs_of(network, split_inputs(batch))
    except Exception as error:  # any error of the network's own code
        raise InvalidValueError(f"the network cannot be run on a batch of compensate: {first_line(error)}") from error
