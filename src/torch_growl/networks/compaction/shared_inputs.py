"""One selection or sum for several layers."""

from __future__ import annotations

import threading
import weakref
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["SharedInputs"]


class SharedInputs(nn.Module):
    """A selection or sum that several layers read from the same tensor: the first one computes it for all.

    What was computed is held until the last of them has it. Under ``torch.compile`` and ``torch.export`` it is written
    out for each of them, for these find the same computation themselves.

    Args:
        inputs: what to compute.
        readers: how many layers read it.
    """

    def __init__(self, inputs: nn.Module, readers: int) -> None:
        super().__init__()
        self.inputs = inputs
        self.readers = readers
        self._held: dict[int, tuple[Any, int, bool, Tensor, int]] = {}  # by thread

    def __getstate__(self) -> dict[str, Any]:
        """Copies hold nothing."""
        return {**self.__dict__, "_held": {}}

    def forward(self, x: Tensor) -> Tensor:
        """What ``inputs`` gives."""
        if torch.compiler.is_compiling() or type(x) is not Tensor:
            return self.inputs(x)  # type: ignore[no-any-return]
        thread, version = threading.get_ident(), -1 if x.is_inference() else x._version
        held = self._held.pop(thread, None)
        if held is not None and held[0]() is x and held[1:3] == (version, torch.is_grad_enabled()):
            result, left = held[3], held[4] - 1
        else:
            result, left = self.inputs(x), self.readers - 1
        if left:
            self._held[thread] = (weakref.ref(x), version, torch.is_grad_enabled(), result, left)
        return result

    def extra_repr(self) -> str:
        """What is shown in the network's printout."""
        return f"readers={self.readers}"
