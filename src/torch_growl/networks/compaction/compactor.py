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
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from torch_growl.arguments import check_count, check_number
from torch_growl.errors import CompactionError, GrowlWarning, LayerError, users_stacklevel
from torch_growl.networks.compaction.folding import altered_modules, fold_chains_, fold_constants_, foldable
from torch_growl.networks.compaction.planning import fixed_modules, plan_structure, why_unchanged
from torch_growl.networks.compaction.shrinking import shrink_
from torch_growl.networks.compaction.structure import Structure, has_added_bias, recorded
from torch_growl.networks.execution import (
    Inputs,
    KeptChannels,
    Proof,
    exact_arithmetic,
    split_examples,
    unpack_heads_,
    wide,
)
from torch_growl.networks.layers import (
    check_network,
    outside_inference_mode,
    plain_copy,
    registered_kind,
    registered_layers,
    sharing_copy,
)
from torch_growl.networks.wiring import Flags, Wiring, bundles, no_wiring, wiring_of

__all__ = ["compact"]

_COMPACT_ALREADY = (
    "the network is compact already: a file of the result can only be loaded into this compact network, not into the "
    "original one. Give compact() or shrink() the dense form instead: tg.expand(small, original)"
)


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
        example_inputs: a tensor, a tuple of positional inputs or a dict of named ones, on the network's device; or a
            list of such examples, one for each way that the network's code can take. They are not modified.
        full: whether to remove output channels too, which relies on the ways that the examples take; otherwise only
            each layer's own inputs are removed, which is exact whatever else the network computes.
        round_to: numbers of channels and rows are rounded up to a multiple of this, ≥ 1, at most to the layer's own.
            Many processors run multiples of 8 faster.
        tolerance: largest difference of an element of the outputs relative to elements of its size, in (0, 1). Half
            precision is compared in a wider type, where the network runs in one.
        float64: whether to compare copies in float64, for networks whose own rounding is larger than the tolerance, or
            for a tolerance far below float32's.

    Raises:
        InvalidTypeError: an argument has another type.
        InvalidValueError: an argument is out of range.
        LayerError: a layer has NaN or infinite weights.
        CompactionError: the network cannot be copied or run, or no smaller network with the same outputs was found.

    Warns:
        GrowlWarning: nothing can be removed, and the network is returned as a copy; layers were never called, and are
            left as they are; something could not be proven; the network is compact already, so that a file of the
            result is not for the original one (:func:`torch_growl.expand` it first).

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
    check_network("model", model, values=True)
    check_number("tolerance", tolerance, above=0, below=1)
    check_count("round_to", round_to)
    examples = split_examples(example_inputs)
    dense = plain_copy(model)
    if (before := recorded(dense)) is not None and any(layer.changed for layer in before.layers):
        warnings.warn(_COMPACT_ALREADY, GrowlWarning, stacklevel=users_stacklevel())
    with outside_inference_mode():
        return _Maker(dense, examples, full, round_to, tolerance, float64).smallest()


class _Maker:
    """Plans a structure, checks its outputs, and keeps the layers and channels whose removal changes the outputs."""

    def __init__(
        self, dense: nn.Module, examples: list[Inputs], full: bool, round_to: int, tolerance: float, float64: bool
    ) -> None:
        self.altered: frozenset[str] = frozenset()
        given = sharing_copy(dense).eval()  # with its own code, in which attentions of torch call no output projection
        self.hidden = frozenset(f"{name}.out_proj".removeprefix(".") for name in unpack_heads_(dense))
        self._take(dense)
        self.recorded = list(examples)
        self.full = full
        self.round_to = round_to
        self.fixed = fixed_modules(dense)
        self.uncalled: list[str] = []
        for name, module in self.layers.items():
            weight = module._parameters.get("weight")
            if weight is not None and not is_lazy(weight) and not bool(torch.isfinite(weight).all()):
                raise LayerError(f"layer {name!r} has NaN or infinite weights; it cannot be compacted")
        self.reference = sharing_copy(dense).eval()
        self.originals = self.layers
        self.folds: dict[str, int] = {}  # constant inputs folded into biases, by layer
        self.float64 = float64
        dims = {name: registered_kind(module).channel_dim for name, module in self.layers.items()}
        inputs = [wide(example) for example in examples] if float64 else examples
        self.proof = Proof(self._compared(given), inputs, tolerance, dims)

    def smallest(self) -> nn.Module:
        """The smallest network that was found with the dense network's outputs."""
        if self.full:
            self._leave_uncalled_layers()
        wiring = self._wiring()
        found = self._folded(wiring) or self._attempt(wiring)
        while found.fault and self._record_more():  # the network takes another way there than with the examples
            wiring = self._wiring()
            found = self._folded(wiring) or self._attempt(wiring)
        if found.fault and (whole := wiring.with_whole_heads()) is not wiring:  # the code has a fixed size of heads
            wiring, found = whole, self._folded(whole) or self._attempt(whole)
        if found.fault:
            if self._leave_faulty_layers():
                wiring = self._wiring().with_whole_heads()
                found = self._attempt(wiring)
            if found.fault:
                found = self._without_faulty_cuts(wiring, found)
        if not any(layer.changed for layer in found.plan.layers):
            warnings.warn(why_unchanged(found.plan), GrowlWarning, stacklevel=3)
        if unproven := self._unproven(found.plan):
            warnings.warn(unproven, GrowlWarning, stacklevel=3)
        return found.small

    def _record_more(self) -> bool:
        """Add inputs on which the last attempt failed to those that are recorded; return whether there were any."""
        if not self.full or self.float64:
            return False
        new = [batch for batch in self.proof.faulty if not any(batch is other for other in self.recorded)]
        self.recorded += new
        return bool(new)

    def _leave_uncalled_layers(self) -> None:
        self.uncalled = [
            name for name in self.layers if name not in self.proof.called | self.hidden | self.fixed.keys()
        ]
        for name in self.uncalled:
            self.fixed[name] = "it is not called with the examples"

    def _unproven(self, plan: Structure) -> str:
        """The text of the warning about what the proof does not cover; empty if channels are removed nowhere."""
        if not any(layer.form == "full" for layer in plan.layers):
            return ""
        texts = list(self.proof.gaps)
        if self.uncalled:
            texts.append(
                f"{_named(self.uncalled)} never called: left as given, and may not fit the channels that are left"
            )
        same = [layer.name for layer in plan.layers if layer.changed and layer.name in self.proof.same]
        if same:
            texts.append(f"{_named(same)} given one and the same value everywhere")
        if self.proof.untaken:
            texts.append(f"no run took the other way at {_listed(self.proof.untaken)}")
        if not texts:
            return ""
        advice = "give compact() a list of examples that reach all of the network's code, or full=False"
        return f"not proven: {'; '.join(texts)}. {advice[0].upper()}{advice[1:]}"

    def _wiring(self) -> Wiring:
        if not self.full:
            return self._uncut("removal of output channels was turned off (full=False)")
        with exact_arithmetic(self.reference):
            wiring = wiring_of(self.reference, self.recorded, self.fixed)
        for name in wiring.outside:
            self.fixed[name] = "its weight is read by other code than its own forward"
        self.uncalled = [name for name in self.uncalled if name not in wiring.outside]
        return wiring

    def _folded(self, wiring: Wiring) -> _Attempt | None:
        """Try with constants and linear chains folded, then each alone; None if none is, or the outputs change."""
        dense, possible = self.dense, foldable(self.dense, wiring, self.fixed)
        both = ((True, True), (True, False), (False, True))
        for constants, chains in both if all(possible) else (possible,) * any(possible):
            folded = sharing_copy(dense)
            self.folds = fold_constants_(folded, wiring, self.fixed) if constants else {}
            done = bool(self.folds), bool(chains and fold_chains_(folded, wiring, self.fixed))
            if any(done):
                self._take(folded)
                self.altered = altered_modules(dense, folded)
                found = self._attempt(wiring)
                if not found.fault:
                    return found
        self._take(dense)
        self.altered, self.folds = frozenset(), {}
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
        plan = self._with_folds(plan)
        small = shrink_(sharing_copy(self.dense), plan)
        unlike = self.altered | self.hidden
        kept = {cut.name: KeptChannels(cut.arriving, cut.kept) for cut in plan.layers if cut.name not in unlike}
        return _Attempt(plan, needed, small, self.proof.fault(self._compared(small), kept))

    def _with_folds(self, plan: Structure) -> Structure:
        """The structure with what was folded into biases."""
        layers = [
            replace(layer, folded=self.folds.get(layer.name, 0), bias_added=self._bias_added(layer.name))
            for layer in plan.layers
        ]
        return replace(plan, layers=tuple(layers))

    def _bias_added(self, name: str) -> bool:
        original = self.originals[name]
        return _has_bias(self.layers[name]) and (not _has_bias(original) or has_added_bias(original))

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
        wiring = replace(wiring, pinned=wiring.pinned | failed.needed)  # else one of them could be removed instead
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
            found = self._attempt(self._uncut(f"removing output channels was tried and given up: {found.fault}"))
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


def _named(layers: list[str]) -> str:
    names = _listed([repr(name) for name in layers])
    return f"layer {names} was" if len(layers) == 1 else f"layers {names} were"


def _listed(texts: list[str]) -> str:
    return ", ".join(texts[:8]) + (f" and {len(texts) - 8} more" if len(texts) > 8 else "")


def _has_bias(module: nn.Module) -> bool:
    return getattr(module, "bias", None) is not None
