"""The self-check: rows are zeroed at random, the network is compacted, outputs and sizes are compared.

A network that cannot be compacted, or whose size is counted wrongly, is known by it before days of training.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from torch_growl.errors import GrowlError, GrowlWarning, first_line
from torch_growl.networks.compaction import compact
from torch_growl.networks.execution import difference, outputs_of, random_like, split_inputs
from torch_growl.networks.measurement import measure
from torch_growl.networks.targets import Counter, zero_half_

__all__ = ["SelfCheck", "run_self_check"]

TRIALS, _TOLERANCE = 2, 1e-4


@dataclass(frozen=True)
class Trial:
    """One network with random zero rows.

    Attributes:
        counted: the weights that are counted in the compact network.
        weights: those that it has.
        difference: the largest difference of an output from the network's, as a part of the largest output.
        fault: what is wrong; otherwise empty.
    """

    counted: int
    weights: int
    difference: float
    fault: str


@dataclass(frozen=True)
class SelfCheck:
    """The result of the self-check.

    Attributes:
        trials: one for each random choice of rows.
        dense: the weights of the dense network.
        fault: why nothing could be tried; otherwise empty.
    """

    trials: tuple[Trial, ...]
    dense: int
    fault: str = ""

    @property
    def passed(self) -> bool:
        """True if all networks could be compacted, with the same outputs and no more weights than counted."""
        return not self.fault and not any(trial.fault for trial in self.trials)

    def lines(self) -> list[str]:
        """The result in sentences."""
        if self.fault:
            return [f"self-check failed: {self.fault}"]
        lines = []
        for trial in self.trials:
            found = (
                f"with half of the rows zero, {trial.weights:,} of {self.dense:,} weights are left, "
                f"{trial.counted:,} were counted; outputs differ by {trial.difference:.1g}"
            )
            lines.append(f"self-check {f'failed: {trial.fault}; ' if trial.fault else 'passed: '}{found}")
        return lines


def run_self_check(network: nn.Module, example_inputs: Any, layers: Sequence[str]) -> SelfCheck:
    """Zero about half of the rows of some layers at random, compact, and compare.

    Args:
        network: a plain copy in eval mode; not modified.
        example_inputs: a tensor, a tuple of positional inputs or a dict of named ones.
        layers: the names of the layers.
    """
    dense = sum(parameter.numel() for parameter in network.parameters())
    if not layers:
        return SelfCheck((), dense, "no layer is penalised, so nothing can be removed")
    try:
        counter = Counter(network, example_inputs)
        trials = [_trial(network, example_inputs, layers, counter, 100 + seed) for seed in range(TRIALS)]
    except GrowlError as error:
        return SelfCheck((), dense, first_line(error))
    return SelfCheck(tuple(trials), dense)


def _trial(network: nn.Module, example_inputs: Any, layers: Sequence[str], counter: Counter, seed: int) -> Trial:
    pruned = copy.deepcopy(network)
    zero_half_(pruned, layers, counter.wiring, seed)
    counter.look(pruned)
    counted = counter.left().weights
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", GrowlWarning)  # that nothing can be removed is seen in the weights
        small = compact(pruned, example_inputs)
    inputs = split_inputs(example_inputs)
    worst, fault = 0.0, ""
    for given in (inputs, random_like(inputs, torch.Generator().manual_seed(seed))):
        wanted, found = outputs_of(pruned, given), outputs_of(small, given)
        for (path, value), (_, other) in zip(wanted, found, strict=True):
            each = difference(path, other, value, _TOLERANCE)
            worst, fault = max(worst, each.relative), fault or each.fault
    weights = measure(small, example_inputs, latency=False).weights
    if not fault and weights > counted:
        fault = "the compact network is larger than counted, so a target of this network would be missed"
    return Trial(counted, weights, worst, fault)
