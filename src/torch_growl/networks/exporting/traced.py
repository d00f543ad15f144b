"""What every export begins and ends with: a network traced by ``torch.export``, and its outputs compared elsewhere.

A copy is traced: in eval mode, on the CPU, parametrizations made permanent. The given network is not touched.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from torch_growl.errors import ExportError, GrowlWarning, InvalidTypeError, InvalidValueError, first_line
from torch_growl.networks.compaction import SumInputs
from torch_growl.networks.execution import (
    Inputs,
    batch_of,
    batch_size,
    difference,
    outputs_of,
    random_like,
    split_inputs,
)
from torch_growl.networks.layers import plain_copy

__all__ = ["Traced", "quiet"]


class Traced:
    """A network's program, and what the network answers to inputs that the program is tried on.

    Args:
        model: the network; not modified, and not run (a copy is).
        example_inputs: a tensor, a tuple of positional inputs or a dict of named ones.
        dynamic_batch: leave dimension 0 of the first tensor, and of all that are as long there, open. Where the
            network's code does not allow that, it is left as it is in the example, with a warning.
        tolerance: largest difference allowed, as a part of the largest output, in (0, 1).
        scatter_free: write the sums of tied inputs without any scatter (see
        :class:`torch_growl.networks.compaction.inputs.SumInputs`).

    Attributes:
        program: what ``torch.export`` made of it.
        dynamic_batch: whether the batch size is open.

    Raises:
        InvalidTypeError: ``model`` is no module, or the inputs are of another kind.
        InvalidValueError: the tolerance is out of range, or the inputs hold no batch.
        ExportError: the network cannot be run or traced.
    """

    def __init__(
        self, model: nn.Module, example_inputs: Any, *, dynamic_batch: bool, tolerance: float, scatter_free: bool
    ) -> None:
        if not isinstance(model, nn.Module):
            raise InvalidTypeError(f"model must be a torch.nn.Module, got {type(model).__name__}")
        if not 0 < tolerance < 1:
            raise InvalidValueError(f"tolerance must be in (0, 1), got {tolerance}")
        given: Inputs = pytree.tree_map_only(Tensor, lambda x: x.detach().cpu(), split_inputs(example_inputs))
        size = batch_size(given)
        if dynamic_batch and not size:
            raise InvalidValueError(
                "the first of example_inputs has no batch dimension with an example; give one, or dynamic_batch=False"
            )
        self.tolerance = tolerance
        self.network = plain_copy(model).eval().cpu()
        for module in self.network.modules():
            if isinstance(module, SumInputs):
                module.scatter_free = scatter_free
        self.example = given
        self.expected(given)  # a network that does not run is said to be that, and not blamed on an exporter
        self.dynamic_batch = False
        if dynamic_batch:
            wide = given if size > 1 else batch_of(given, 2)  # a dimension of 1 would be taken for a constant
            try:
                self.program = self._trace(wide, _batch_dimension(wide))
                self.example, self.dynamic_batch = wide, True
                return
            except Exception as error:  # whatever a user's forward does to torch.export
                reason = first_line(error)
            warnings.warn(
                f"the batch size is fixed at {size}, for the network's code does not leave it open: {reason}",
                GrowlWarning,
                stacklevel=3,
            )
        try:
            self.program = self._trace(given, None)
        except Exception as error:
            raise ExportError(f"torch.export cannot trace the network: {first_line(error)}") from error

    def _trace(self, inputs: Inputs, dynamic: Any) -> torch.export.ExportedProgram:
        args, kwargs = inputs
        with torch.no_grad(), quiet():
            return torch.export.export(self.network, args, kwargs, dynamic_shapes=dynamic, strict=False)

    def expected(self, inputs: Inputs) -> list[tuple[str, Tensor]]:
        """Run the network; return its output tensors with their paths.

        Raises:
            ExportError: it cannot be run, or its output holds no tensor.
        """
        try:
            found = outputs_of(self.network, inputs)
        except Exception as error:  # any error of the network's own code
            raise ExportError(
                f"the network does not run on inputs of batch size {batch_size(inputs)}: {first_line(error)}"
            ) from error
        if not found:
            raise ExportError("the network's output holds no tensor, so nothing can be compared")
        return found

    def batches(self) -> list[Inputs]:
        """Inputs to compare on: the example, random ones, and with an open batch size random ones of two others."""
        generator = torch.Generator().manual_seed(0)
        found = [self.example, random_like(self.example, generator)]
        if self.dynamic_batch:
            size = batch_size(self.example)
            found += [random_like(batch_of(self.example, other), generator) for other in (1, size + 1)]
        return found

    def compare(self, where: str, run: Callable[[Inputs], list[Tensor]]) -> float:
        """Hold what was exported against the network.

        Args:
            where: the runtime's name, for messages.
            run: gives its outputs, in the network's order.

        Returns:
            The largest difference of any output, as a part of that output's largest value.

        Raises:
            ExportError: it fails there, or the difference is beyond the tolerance.
        """
        worst = 0.0
        for inputs in self.batches():
            expected = self.expected(inputs)
            try:
                found = run(inputs)
            except Exception as error:  # a runtime's own
                raise ExportError(f"{where} fails on what was exported: {first_line(error)}") from error
            if len(found) != len(expected):
                raise ExportError(f"{where} gives {len(found)} outputs, the network {len(expected)}")
            for (path, wanted), value in zip(expected, found, strict=True):
                here = difference(path, value, wanted, self.tolerance)
                if here.fault:
                    raise ExportError(
                        f"the outputs in {where} differ from the network's: {here.fault}; nothing was written"
                    )
                worst = max(worst, here.relative)
        return worst


@contextmanager
def quiet() -> Iterator[None]:
    """Exporters warn about their own insides; nothing of that is for the user."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _batch_dimension(inputs: Inputs) -> Any:
    """For every input, that dimension 0 is the batch where it is, in the nesting torch.export wants."""
    size = batch_size(inputs)
    batch = torch.export.Dim("batch")
    args, kwargs = pytree.tree_map(
        lambda x: {0: batch} if isinstance(x, Tensor) and x.ndim and len(x) == size else None, inputs
    )
    return kwargs or args
