"""A running average of a network's weights along a training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from torch_growl.arguments import check_number

__all__ = ["WeightAverage"]


class WeightAverage:
    """An exponential average of the weights and of floating-point buffers, in float32 at least.

    Small steps are lost in the average if it is kept in bfloat16 or float16. Where an average would not be finite, it
    is the present value.

    Tied networks are averaged through their centroids, so ties and zero rows stay. Rows that a penalty has set to zero
    do not become zero in an average by themselves: :meth:`torch_growl.GrOWL.average_` sets them.

    Args:
        model: the network; held by reference.
        decay: weight of the average at each update, 0 < decay < 1. At update t it is at most (1 + t) / (10 + t), so
            that the weights at the start are forgotten in short trainings too.

    Raises:
        InvalidValueError, InvalidTypeError: ``decay`` is out of range or no number.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = check_number("decay", decay, above=0, below=1)
        self._model = model
        self._average = AveragedModel(model)  # its copy and its state; updates are made here
        for average, _ in self._pairs():
            if average.is_floating_point() and average.element_size() < 4:
                average.data = average.data.float()

    def _pairs(self) -> list[tuple[Tensor, Tensor]]:
        """The average and the present value of each parameter and buffer."""
        mine, theirs = self._average.module, self._model
        return list(zip((*mine.parameters(), *mine.buffers()), (*theirs.parameters(), *theirs.buffers()), strict=True))

    @torch.no_grad()
    def update(self) -> None:
        """Take the present weights into the average."""
        count = int(self._average.n_averaged)
        decay = min(self.decay, (1 + count) / (10 + count))
        for average, value in self._pairs():
            if count and value.is_floating_point():
                now = value.to(average)
                mean = average.lerp(now, 1 - decay)
                average.copy_(torch.where(mean.isfinite(), mean, now))  # such as the −∞ of a mask
            else:
                average.copy_(value)
        self._average.n_averaged += 1

    @torch.no_grad()
    def write_(self) -> None:
        """Write the average into the network."""
        for average, value in self._pairs():
            value.copy_(average)

    def state_dict(self) -> dict[str, Any]:
        """The state for a resumed training."""
        return self._average.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Load a state."""
        self._average.load_state_dict(state)
