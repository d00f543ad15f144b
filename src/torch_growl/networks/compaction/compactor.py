"""The compact network: pruned inputs and the channels that only they read are removed, tied inputs are summed first.

``y = Σ_c w_c (Σ_{i∈c} x_i)``: the *local* form selects or sums a layer's inputs before a smaller layer of the same
type, and is exact in any network. The *full* form also removes the output channels that no layer reads, with their
biases and normalisation, if :mod:`torch_growl.networks.wiring.wiring` finds all their readers. The structure is found
from the weights alone, so networks pruned by other tools are compacted too. The outputs of the result are compared with
those of the dense network on the example and on random inputs before it is returned.
"""

from __future__ import annotations

import copy
import warnings
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from torch_growl.arguments import check_count, check_number, check_type
from torch_growl.errors import CompactionError, GrowlWarning, LayerError
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
    """Make a smaller network with the same outputs: a plain ``nn.Module``, in the same mode as the given one.

    Modules keep their dotted names; a layer whose inputs are selected or summed becomes a Sequential of ``inputs`` and
    ``layer``. Zero rows and bit-equal rows are found in every layer of a registered type, frozen layers included.
    :func:`structure_of` shows the changes of each layer, and why no more was removed.

    Args:
        model: the network; not modified and not run, because a copy is. The copy has no parametrizations.
        example_inputs: a tensor, a tuple of positional inputs or a dict of named ones, on the network's device.
        full: whether to remove output channels too; otherwise only each layer's own inputs are removed.
        round_to: numbers of channels and rows are rounded up to a multiple of this, ≥ 1, at most to the layer's own.
            Many processors run multiples of 8 faster.
        tolerance: largest difference of outputs relative to the largest output, in (0, 1); half precision has its own
            table, :data:`torch_growl.networks.execution.outputs.HALF_TOLERANCE`.
        float64: whether to compare copies in float64, for networks whose own rounding is larger than the tolerance, or
            for a tolerance far below float32's.

    Raises:
        InvalidTypeError: an argument has another type.
        InvalidValueError: an argument is out of range.
        LayerError: a layer has NaN or infinite weights.
        CompactionError: the network cannot be copied or run, or no smaller network with the same outputs was found.

    Warns:
        GrowlWarning: nothing can be removed; the network is returned as a copy.

    Example:
        >>> import torch
        >>> import torch_growl as tg
        >>> model = torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
        >>> with torch.no_grad():
        ...     model[2].weight[:, :3] = 0
        >>> x = torch.randn(3, 6)
        >>> small = tg.compact(model, x)
        >>> small
        Sequential(
          (0): Linear(in_features=6, out_features=5, bias=True)
          (1): ReLU()
          (2): Linear(in_features=5, out_features=2, bias=True)
        )
        >>> torch.allclose(small(x), model(x), atol=1e-6)
        True
    """
    check_type("model", model, nn.Module)
    check_number("tolerance", tolerance, above=0, below=1)
    check_count("round_to", round_to)
    inputs = split_inputs(example_inputs)
    return _Maker(plain_copy(model), inputs, full, round_to, tolerance, float64).smallest()


class _Maker:
    """Plans a structure, checks its outputs, and keeps the layers and channels whose removal changes the outputs."""

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
        """The smallest network that was found with the dense network's outputs."""
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
            return self._uncut("removal of output channels was turned off (full=False)")
        with exact_arithmetic(self.reference):
            wiring = wiring_of(self.reference, *self.inputs, self.fixed)
        for name in wiring.outside:
            self.fixed.setdefault(name, "its weight is read by other code than its own forward")
        return wiring

    def _folded(self, wiring: Wiring) -> _Attempt | None:
        """Try with linear chains folded; None if there are none, or if the outputs change."""
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
        """Apply the structure that a wiring allows; if the outputs change, try with attributes of sizes changed too."""
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
        """The network that is run for the comparison: a copy in float64 if asked for."""
        return copy.deepcopy(network).double() if self.float64 else network

    def _leave_faulty_layers(self) -> bool:
        """Find, without removing channels, the layers that must not be replaced at all; whether there were any."""
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
            raise CompactionError(f"the smaller network has other outputs than the given one: {found.fault}")
        return True

    def _without_faulty_cuts(self, wiring: Wiring, failed: _Attempt) -> _Attempt:
        """Find by bisection the removals of channels that keep the outputs; the reasons name the others."""
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
            """The sure sets and those of the chosen ones that can be removed together with them."""
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
            raise CompactionError(f"the smaller network has other outputs than the given one: {found.fault}")
        return found


@dataclass(frozen=True)
class _Attempt:
    """One structure that was tried, with the network it gives and the fault of its outputs (empty: none)."""

    plan: Structure
    needed: Flags
    small: nn.Module
    fault: str


def _unchanged(plan: Structure) -> str:
    text = "no zero rows and no bit-equal rows: the network is returned unchanged (a copy)"
    if any("could be removed, but their index" in layer.reason for layer in plan.layers):
        text = "no removal saves more bytes than its index needs: the network is returned unchanged (a copy)"
    return text + "; structure_of(...) has the reason for each layer"
