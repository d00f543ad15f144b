"""A running average of a network's weights along a training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from torch_growl.arguments import check_number

__all__ = ["WeightAverage"]


class WeightAverage:
    """An exponential average of the weights and of floating-point buffers, by torch's ``AveragedModel``.

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
        self._average = AveragedModel(model, multi_avg_fn=self._updated, use_buffers=True)

    def _updated(self, averages: Any, values: Any, count: Tensor | int) -> None:
        if values[0].is_floating_point():  # torch passes tensors of one type together
            get_ema_multi_avg_fn(min(self.decay, float((1 + count) / (10 + count))))(averages, values, count)
            return
        for average, value in zip(averages, values, strict=True):
            average.copy_(value)

    @torch.no_grad()
    def update(self) -> None:
        """Take the present weights into the average."""
        self._average.update_parameters(self._model)

    @torch.no_grad()
    def write_(self) -> None:
        """Write the average into the network."""
        for target, value in zip(
            (*self._model.parameters(), *self._model.buffers()),
            (*self._average.module.parameters(), *self._average.module.buffers()),
            strict=True,
        ):
            target.copy_(value)

    def state_dict(self) -> dict[str, Any]:
        """The state for a resumed training."""
        return self._average.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Load a state."""
        self._average.load_state_dict(state)
