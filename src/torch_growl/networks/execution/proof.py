"""The proof that two networks give the same outputs: run both on the same inputs and compare every output tensor."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from torch_growl.errors import CompactionError, first_line
from torch_growl.networks.execution.example_inputs import Inputs, random_like
from torch_growl.networks.execution.fused_layers import fast_path, has_fast_path
from torch_growl.networks.execution.outputs import Difference, difference, outputs_of

__all__ = ["Proof"]


class Proof:
    """Reference outputs of a dense network, with which other networks are compared.

    Args:
        dense: the network in eval mode; it is run on three inputs.
        inputs: the example; two random ones of the same shapes are added.
        tolerance: largest difference allowed, as a part of the largest output; see
            :func:`~torch_growl.networks.execution.outputs.difference`.

    Raises:
        CompactionError: the network cannot be run on the example, or its outputs are not finite.
    """

    def __init__(self, dense: nn.Module, inputs: Inputs, tolerance: float) -> None:
        generator = torch.Generator().manual_seed(0)
        self.tolerance = tolerance
        self.batches = [inputs, *(random_like(inputs, generator) for _ in range(2))]
        now = torch.backends.mha.get_fastpath_enabled()
        self.paths = (now, not now) if has_fast_path(dense) else (now,)
        try:
            self.expected = [self._outputs(dense, batch) for batch in self.batches]
        except Exception as error:  # any error of the network's own code
            raise CompactionError(f"the network does not run on example_inputs: {first_line(error)}") from error
        if not self.expected[0]:
            raise CompactionError("the network's output holds no tensor, so nothing can be compared")
        for path, value in self.expected[0]:
            if value.is_floating_point() and not bool(torch.isfinite(value).all()):
                raise CompactionError(f"the network's own {path} on example_inputs is not finite; nothing to compare")

    def _outputs(self, network: nn.Module, batch: Inputs) -> list[tuple[str, Tensor]]:
        """The outputs of a network, with torch's fast path of transformer layers and without it."""
        found = []
        for enabled in self.paths:
            with fast_path(enabled):
                found += outputs_of(network, batch)
        return found

    def fault(self, small: nn.Module) -> str:
        """Describe the largest difference of a network in eval mode from the dense one; empty when they agree."""
        worst = Difference()
        for batch, expected in zip(self.batches, self.expected, strict=True):
            try:
                found = self._outputs(small, batch)
            except Exception as error:  # the network's own code does not allow a cut
                return f"it raises {type(error).__name__}: {first_line(error)}"
            if [path for path, _ in found] != [path for path, _ in expected]:
                return "its outputs are nested differently"
            for (path, value), (_, wanted) in zip(found, expected, strict=True):
                here = difference(path, value, wanted, self.tolerance)
                if here.fault and here.excess > worst.excess:
                    worst = here
        return worst.fault
