"""Trains with a strength that rises until the network is small enough."""

from __future__ import annotations

import copy
import warnings
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

import torch_growl as tg
from benchmarks.learning.training.counting import ratio
from benchmarks.learning.training.fitting import Fit, fit

__all__ = ["Rise", "press", "ratios"]


@dataclass(frozen=True)
class Rise:
    """The rate at which the strength rises, and the size at which it stops.

    Attributes:
        goal: how many times smaller the network is to become.
        of: what of it: "macs" or "network", as :func:`benchmarks.learning.training.counting.ratio` counts them.
        start: the first strength.
        growth: what it is multiplied by.
        every: after so many steps.
        look: steps between two looks at how small the network has become; ten times as often close to the goal.
        close: the share of the goal from which it is close.
    """

    goal: float
    of: str = "macs"
    start: float = 1.0
    growth: float = 1.03
    every: int = 25
    look: int = 100
    close: float = 0.9


def ratios(dense: nn.Module, model: nn.Module, example: Tensor) -> dict[str, float]:
    """Return how many times smaller the compact network would be; the network is not modified.

    The dense network and the example are on the CPU, the other anywhere.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", tg.GrowlWarning)
        small = tg.compact(copy.deepcopy(model).cpu().eval(), example)
    return ratio(dense, small, example)


def press(
    model: nn.Module,
    growl: tg.GrOWL,
    train: Dataset[Any],
    how: Fit,
    rise: Rise,
    seed: int,
    wrapped: nn.Module,
    teacher: nn.Module | None = None,
) -> list[dict[str, float]]:
    """Train with rising strength until the goal is reached, or ``how`` ends.

    Args:
        model: trained in place; dense now.
        growl: its penalty, not attached.
        train: the training split.
        how: the settings; epochs are the most there can be.
        rise: of the strength.
        seed: of the data's order.
        wrapped: what is called to train the model; the model itself, or around it.
        teacher: for ``how.distill``.

    Returns:
        What was passed on the way: steps, strength, ratios.
    """
    example = train.batch(torch.arange(2))[0].cpu()  # type: ignore[attr-defined]
    dense = copy.deepcopy(model).cpu().eval()
    growl.strength = rise.start
    passed: list[dict[str, float]] = []

    def after_step(steps: int) -> bool:
        strength = growl.strength
        if steps % rise.every == 0:
            growl.strength *= rise.growth
        near = bool(passed) and passed[-1][rise.of] > rise.close * rise.goal
        if steps % (max(1, rise.look // 10) if near else rise.look):
            return False
        passed.append({"steps": steps, "strength": strength, **ratios(dense, model, example)})
        print(passed[-1], flush=True)
        return passed[-1][rise.of] >= rise.goal

    fit(wrapped, train, how, seed, attach=growl.attach, after_step=after_step, teacher=teacher)
    return passed
