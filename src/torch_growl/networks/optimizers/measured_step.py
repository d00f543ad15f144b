"""The length of an optimizer's steps along the gradient, measured, for optimizers of which no formula is known.

Over about 100 steps, the sum of the displacements of a weight is compared with the sum of its gradients: momentum has
answered by then, and noise has averaged out. Weight decay is told apart by its direction, that of the weight itself.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from torch_growl.networks.sharding import Pending, Rate, is_sharded, local_of, part_of_whole

__all__ = ["StepMeter"]

_KEPT = 0.99  # of the sums at each step
_LEAST = 1e-30


class StepMeter:
    """The measured length of the steps of one weight; it holds two float32 tensors of the shape of the weight, or of
    this process's part of it.

    Displacements are divided by the learning rate, so that a schedule shows at once.
    """

    def __init__(self) -> None:
        self._moved: Tensor | None = None  # sum of displacements over learning rates
        self._gradient: Tensor | None = None
        self._rate = 0.0

    @torch.no_grad()
    def before(self, weight: Tensor, lr: float) -> None:
        """Call this before the optimizer's step."""
        weight = local_of(weight)
        if self._moved is None or self._moved.shape != weight.shape or self._moved.device != weight.device:
            self._moved = torch.zeros_like(weight, dtype=torch.float32)
            self._gradient = torch.zeros_like(weight, dtype=torch.float32)
        self._rate = lr
        if lr > 0:
            self._moved.mul_(_KEPT).sub_(weight, alpha=1 / lr)

    @torch.no_grad()
    def after(self, weight: Tensor, gradient: Tensor | None) -> None:
        """Call this after the optimizer's step, before anything else changes the weight; without a gradient if the
        step was skipped."""
        weight, gradient = local_of(weight), None if gradient is None else local_of(gradient)
        if self._rate > 0 and self._moved is not None and self._gradient is not None:
            self._moved.add_(weight, alpha=1 / self._rate)
            self._gradient.mul_(_KEPT)
            if gradient is not None:
                self._gradient.add_(gradient)

    @torch.no_grad()
    def length(self, weight: Tensor) -> Rate:
        """The length of a step along the gradient, ≥ 0, by least squares: displacement ≈ −a · gradient − b · weight."""
        if self._moved is None or self._gradient is None:
            return 0.0
        g, w, moved = self._gradient.flatten(), local_of(weight).detach().float().flatten(), self._moved.flatten()
        found = torch.stack([g @ g, g @ w, w @ w, moved @ g, moved @ w]).double()
        return (
            Pending([part_of_whole(weight, found)], self._solution) if is_sharded(weight) else self._solution([found])
        )

    def _solution(self, sums: Sequence[Tensor]) -> float:
        gg, gw, ww, mg, mw = sums[0].tolist()
        determinant = gg * ww - gw * gw
        if determinant <= 1e-6 * gg * ww:
            return float(self._rate * max(-mg / max(gg, _LEAST), 0.0))
        return float(self._rate * max(-(mg * ww - mw * gw) / determinant, 0.0))
