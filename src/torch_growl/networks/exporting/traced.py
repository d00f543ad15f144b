"""The start and the end of every export: tracing a network with ``torch.export``, and comparing outputs with it.

A copy is traced: in eval mode, on the CPU, parametrizations made permanent. The given network is not modified.
"""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from torch_growl.arguments import check_number
from torch_growl.errors import ExportError, GrowlWarning, InvalidValueError, first_line, users_stacklevel
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
from torch_growl.networks.exporting.open_sizes import OpenSize, accepted_sizes, dynamic_shapes, resized
from torch_growl.networks.layers import check_network, plain_copy

__all__ = ["Run", "Traced", "quiet", "traced_and_checked", "warn_fixed_batch"]

Run = Callable[[Inputs], list[Tensor]]
Result = TypeVar("Result")


class Traced:
    """A network traced by ``torch.export``, and the comparison of a runtime's outputs with the network's.

    Args:
        model: the network; not modified, and not run (a copy is).
        example_inputs: a tensor, a tuple of positional inputs or a dict of named ones.
        dynamic_batch: allow any size of dimension 0 of the first tensor, and of all tensors that have the same size
            there. Where the network's code does not allow that, the example's size is kept, with a warning.
        tolerance: largest difference allowed, as a part of an element's size, in (0, 1).
        scatter_free: compute the sums of tied inputs without any scatter (see
            :class:`torch_growl.networks.compaction.inputs.SumInputs`).
        open_sizes: with an open batch, also allow other sizes in all dimensions in which the network takes them.

    Attributes:
        network: the copy that was traced.
        example: the inputs it was traced with.
        program: the program that ``torch.export`` made.
        dynamic_batch: whether the program takes any batch size.
        open_sizes: the other sizes of its inputs that may be other ones.

    Raises:
        InvalidTypeError: ``model`` is no module, or the inputs are of another type.
        InvalidValueError: the tolerance is out of range, or the inputs have no batch dimension.
        ExportError: the network cannot be run or traced.
    """

    def __init__(
        self,
        model: nn.Module,
        example_inputs: Any,
        *,
        dynamic_batch: bool,
        tolerance: float,
        scatter_free: bool,
        open_sizes: bool = True,
    ) -> None:
        check_network("model", model)
        check_number("tolerance", tolerance, above=0, below=1)
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
        self.expected(given)  # a network that does not run is reported as that, not as a failed export
        self.dynamic_batch = False
        self.open_sizes: list[OpenSize] = []
        reason = ""
        if dynamic_batch:
            wide = given if size > 1 else batch_of(given, 2)  # torch.export takes a dimension of 1 for a constant
            try:
                self._trace_open(wide, accepted_sizes(wide, self.expected) if open_sizes else [])
                return
            except Exception as error:  # code that torch.export cannot trace with an open batch size
                reason = f"torch.export cannot trace another one: {first_line(error)}"
        try:
            self.program = self._trace(given, None)
        except Exception as error:
            raise ExportError(f"torch.export cannot trace the network: {first_line(error)}") from error
        if dynamic_batch:
            warn_fixed_batch(size, reason)

    def _trace_open(self, example: Inputs, sizes: list[OpenSize]) -> None:
        """Trace with the batch open and as many of these sizes as torch.export can."""
        try:
            self.program, self.open_sizes = self._trace(example, dynamic_shapes(example, sizes)), list(sizes)
        except Exception:
            if not sizes:
                raise
            self.program = self._trace(example, dynamic_shapes(example, []))
            for size in sizes if len(sizes) > 1 else []:
                try:
                    self.program = self._trace(example, dynamic_shapes(example, [*self.open_sizes, size]))
                    self.open_sizes.append(size)
                except Exception:  # torch.export makes a constant of it
                    continue
        self.example, self.dynamic_batch = example, True
        for size in sizes:
            if size not in self.open_sizes:
                text = f"{size} is fixed: torch.export cannot trace another one, though the network takes it"
                warnings.warn(text, GrowlWarning, stacklevel=users_stacklevel())

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
        """Return inputs to compare on: the example, two random batches, and other batch sizes if any is taken."""
        generator = torch.Generator().manual_seed(0)
        found = [self.example, *(random_like(self.example, generator) for _ in range(2))]
        if self.dynamic_batch:
            others = dict.fromkeys((1, 3, 8, batch_size(self.example) + 1))
            found += [random_like(batch_of(self.example, size), generator) for size in others]
        found += [random_like(resized(self.example, [size]), generator) for size in self.open_sizes]
        if self.open_sizes:
            found.append(random_like(resized(self.example, self.open_sizes, by=2), generator))
        return found

    def compare(self, where: str, load: Callable[[], Run]) -> float:
        """Load the exported network into its runtime and compare its outputs with the network's.

        Args:
            where: the runtime's name, for messages.
            load: loads it and returns a function of inputs that gives its outputs, in the network's order.

        Returns:
            The largest difference of any output, as a part of that output's largest value.

        Raises:
            ExportError: it cannot be loaded or run, or the difference is beyond the tolerance.
        """
        try:
            run = load()
        except Exception as error:  # any error of the runtime
            raise ExportError(f"{where} does not load what was exported: {first_line(error)}") from error
        worst = 0.0
        for inputs in self.batches():
            expected = self.expected(inputs)
            try:
                found = run(inputs)
            except Exception as error:  # any error of the runtime
                raise ExportError(f"{where} fails on what was exported: {first_line(error)}") from error
            if len(found) != len(expected):
                raise ExportError(f"{where} gives {len(found)} outputs, the network {len(expected)}")
            for (path, wanted), value in zip(expected, found, strict=True):
                here = difference(path, value, wanted, self.tolerance)
                if here.fault:
                    raise ExportError(f"the outputs in {where} differ from the network's: {here.fault}")
                worst = max(worst, here.relative)
        return worst


def traced_and_checked(
    model: nn.Module,
    example_inputs: Any,
    finish: Callable[[Traced], Result],
    *,
    dynamic_batch: bool,
    tolerance: float,
    scatter_free: bool,
) -> tuple[Traced, Result]:
    """Trace with open sizes and finish; with the batch alone open where the runtime gives other outputs at other sizes.

    Args:
        model, example_inputs, dynamic_batch, tolerance, scatter_free: as for :class:`Traced`.
        finish: writes the program, loads it into its runtime and compares outputs.

    Raises:
        InvalidTypeError, InvalidValueError: as for :class:`Traced`.
        ExportError: as for :class:`Traced`, and as ``finish`` raises it.

    Warns:
        GrowlWarning: the sizes are fixed, and why.
    """

    def trace(open_sizes: bool) -> Traced:
        return Traced(
            model,
            example_inputs,
            dynamic_batch=dynamic_batch,
            tolerance=tolerance,
            scatter_free=scatter_free,
            open_sizes=open_sizes,
        )

    traced = trace(True)
    try:
        return traced, finish(traced)
    except ExportError as error:
        if not traced.open_sizes:
            raise
        fixed = trace(False)
        result = finish(fixed)
        text = f"{' and '.join(map(str, traced.open_sizes))} fixed, because with other sizes {first_line(error)}"
        warnings.warn(text, GrowlWarning, stacklevel=users_stacklevel())
        return fixed, result


def warn_fixed_batch(size: int, reason: str) -> None:
    """Warn that what is exported takes one batch size only.

    Args:
        size: the batch size; 0 where the example has no batch dimension.
        reason: why no other size is allowed.
    """
    fixed = size or "that of example_inputs"
    warnings.warn(f"the batch size is fixed at {fixed}: {reason}", GrowlWarning, stacklevel=users_stacklevel())


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Hide the warnings and messages of torch and of exporters; their errors are raised all the same.

    torch prints whole graphs to stderr for attempts that fail.
    """
    logger = logging.getLogger("torch")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
