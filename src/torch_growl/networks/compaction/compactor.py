"""The compact network: pruned inputs and the channels that only fed them are gone, tied inputs are summed first.

``y = Σ_c w_c (Σ_{i∈c} x_i)``: the *local* form selects or sums a layer's inputs before a smaller layer of the same
type, and is exact in any network. The *full* form also removes the output channels that no reader uses any more, with
their bias and normalisation, where :mod:`torch_growl.networks.wiring.wiring` can see every reader. The structure is
read off the weights, whoever made them; the result is held against the dense network on real and random inputs before
it is given.
"""

from __future__ import annotations

import copy
import warnings
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from torch_growl.errors import (
    CompactionError,
    GrowlWarning,
    InvalidTypeError,
    InvalidValueError,
    LayerError,
)
from torch_growl.networks.compaction.chains import fold_chains_
from torch_growl.networks.compaction.planning import fixed_modules, plan_structure
from torch_growl.networks.compaction.shrinking import shrink_
from torch_growl.networks.compaction.structure import Structure
from torch_growl.networks.execution import Inputs, Proof, exact_arithmetic, split_inputs, wide
from torch_growl.networks.layers import plain_copy, registered_layers
from torch_growl.networks.wiring import Flags, Wiring, bundles, no_wiring, wiring_of

__all__ = ["compact"]


def compact(
    model: nn.Module,
    example_inputs: Any,
    *,
    full: bool = True,
    round_to: int = 1,
    tolerance: float = 1e-5,
    float64: bool = False,
) -> nn.Module:
    """A smaller network with the same outputs: a plain ``nn.Module``, in the mode the given one is in.

    Modules keep their dotted names; a layer whose inputs are selected or summed becomes a Sequential of ``inputs`` and
    ``layer``. Zero rows and bit-equal rows are found in every layer of a registered type, frozen ones too.
    :func:`structure_of` tells what became of each layer and why no more.

    Args:
        model: the network; not modified, and not run (a copy is). Parametrizations are permanent in the copy.
        example_inputs: a tensor, a tuple of positional inputs or a dict of named ones, on the network's device.
        full: remove output channels too; otherwise each layer's own inputs only.
        round_to: numbers of channels and rows that are left are a multiple of this, where a layer has so many; hardware
            often likes 8.
        tolerance: how far outputs may differ, as a part of the largest output, in (0, 1); half precision has its own
            table, :data:`torch_growl.networks.execution.outputs.HALF_TOLERANCE`.
        float64: compare copies in float64, whatever the network's type: for networks whose own rounding is larger than
            the tolerance, or with a tolerance far below float32's.

    Raises:
        LayerError: a layer has NaN or infinite weights.
        CompactionError: the network cannot be copied or run, or no smaller network with the same outputs was found.
    """
    if not isinstance(model, nn.Module):
        raise InvalidTypeError(f"model must be a torch.nn.Module, got {type(model).__name__}")
    if not 0 < tolerance < 1:
        raise InvalidValueError(f"tolerance must be in (0, 1), got {tolerance}")
    if not isinstance(round_to, int) or isinstance(round_to, bool) or round_to < 1:
        raise InvalidValueError(f"round_to must be an integer ≥ 1, got {round_to!r}")
    inputs = split_inputs(example_inputs)
    return _Maker(plain_copy(model), inputs, full, round_to, tolerance, float64).smallest()


class _Maker:
    """Plans a structure, proves it, and gives way where a network's own code does not allow a cut."""

    def __init__(
        self, dense: nn.Module, inputs: Inputs, full: bool, round_to: int, tolerance: float, float64: bool
    ) -> None:
        self._take(dense)
        self.inputs = inputs
        self.full = full
        self.round_to = round_to
        self.fixed = fixed_modules(dense)
        for name, module in self.layers.items():
            weight = module._parameters.get("weight")
            if weight is not None and not is_lazy(weight) and not bool(torch.isfinite(weight).all()):
                raise LayerError(f"layer {name!r} has NaN or infinite weights; it cannot be compacted")
        self.reference = copy.deepcopy(dense).eval()
        self.float64 = float64
        self.proof = Proof(self._compared(self.reference), wide(inputs) if float64 else inputs, tolerance)

    def smallest(self) -> nn.Module:
        """The smallest network that answers as the dense one."""
        wiring = self._wiring()
        found = self._folded(wiring) or self._attempt(wiring)
        if found.fault:
            if self._leave_faulty_layers():
                wiring = self._wiring()
                found = self._attempt(wiring)
            if found.fault:
                found = self._without_faulty_cuts(wiring, found)
        if not any(layer.changed for layer in found.plan.layers):
            warnings.warn(_unchanged(found.plan), GrowlWarning, stacklevel=3)
        return found.small

    def _wiring(self) -> Wiring:
        if not self.full:
            return self._uncut("its output channels were left alone, as asked")
        with exact_arithmetic(self.reference):
            wiring = wiring_of(self.reference, *self.inputs, self.fixed)
        for name in wiring.outside:
            self.fixed.setdefault(name, "its weight is read by other code than its own forward")
        return wiring

    def _folded(self, wiring: Wiring) -> _Attempt | None:
        """With the sums of linear chains moved into the layers before them; None where there are none, or it fails."""
        dense, folded = self.dense, copy.deepcopy(self.dense)
        if not fold_chains_(folded, wiring, self.fixed):
            return None
        self._take(folded)
        found = self._attempt(wiring)
        if not found.fault:
            return found
        self._take(dense)
        return None

    def _take(self, dense: nn.Module) -> None:
        self.dense = dense
        self.layers = registered_layers(dense)

    def _uncut(self, reason: str) -> Wiring:
        return no_wiring(list(self.layers), reason)

    def _attempt(self, wiring: Wiring) -> _Attempt:
        """Carry out what a wiring allows; where that fails, with the modules' own numbers of sizes changed too."""
        found = self._try(wiring, sizes=False)
        if found.fault and any(layer.kept is not None for layer in found.plan.layers):
            other = self._try(wiring, sizes=True)
            if not other.fault:
                return other
        return found

    def _try(self, wiring: Wiring, *, sizes: bool) -> _Attempt:
        plan, needed = plan_structure(self.dense, self.layers, wiring, self.fixed, round_to=self.round_to, sizes=sizes)
        small = shrink_(copy.deepcopy(self.dense), plan)
        return _Attempt(plan, needed, small, self.proof.fault(self._compared(copy.deepcopy(small).eval())))

    def _compared(self, network: nn.Module) -> nn.Module:
        """What is run for the proof."""
        return copy.deepcopy(network).double() if self.float64 else network

    def _leave_faulty_layers(self) -> bool:
        """Find, without any cut, the layers whose weight other code than their own forward reads; fix them."""
        found = self._attempt(self._uncut(""))
        if not found.fault:
            return False
        changed = [layer.name for layer in found.plan.layers if layer.changed]
        fixed = dict(self.fixed)
        for name in changed:
            self.fixed = {**fixed, **{other: "" for other in changed if other != name}}
            alone = self._attempt(self._uncut("")).fault
            if alone:
                fixed[name] = f"a smaller layer was tried in its place and given up: {alone}"
        self.fixed = fixed
        if all(name in fixed for name in changed) or self._attempt(self._uncut("")).fault:
            raise CompactionError(f"the smaller network does not answer as the given one: {found.fault}")
        return True

    def _without_faulty_cuts(self, wiring: Wiring, failed: _Attempt) -> _Attempt:
        """Keep the removals of channels that hold, found by halving; those that do not are named in the reasons."""
        sets = bundles(wiring, failed.needed)
        faults: dict[int, str] = {}

        def attempt(chosen: list[int]) -> _Attempt:
            given_up = wiring
            for number in set(range(len(sets))) - set(chosen):
                text = faults.get(number, failed.fault)
                given_up = given_up.without(
                    sets[number], f"removing its output channels was tried and given up: {text}"
                )
            return self._attempt(given_up)

        def sound(sure: list[int], chosen: list[int]) -> list[int]:
            """Those of the chosen that can go beside the sure ones."""
            found = attempt(sure + chosen)
            if not found.fault:
                return sure + chosen
            if len(chosen) == 1:
                faults[chosen[0]] = found.fault
                return sure
            half = len(chosen) // 2
            return sound(sound(sure, chosen[:half]), chosen[half:])

        left = sound([], list(range(len(sets)))) if sets else []
        found = attempt(left)
        if found.fault:
            raise CompactionError(f"the smaller network does not answer as the given one: {found.fault}")
        return found


@dataclass(frozen=True)
class _Attempt:
    """One structure that was carried out, and what was wrong with it."""

    plan: Structure
    needed: Flags
    small: nn.Module
    fault: str


def _unchanged(plan: Structure) -> str:
    text = "no zero rows and no bit-equal rows: the network is returned as it is (a copy)"
    if any("rows could go" in layer.reason for layer in plan.layers):
        text = "nothing worth its index can be removed: the network is returned as it is (a copy)"
    return text + "; structure_of(...) tells why, layer by layer"
