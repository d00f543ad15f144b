"""The compact network: pruned inputs and the channels that only fed them are gone, tied inputs are summed first.

``y = Σ_c w_c (Σ_{i∈c} x_i)``: the *local* form selects or sums a layer's inputs before a smaller layer of the same
type, and is exact in any network. The *full* form also removes the output channels that no reader uses any more,
with their bias and normalisation, where :mod:`torch_growl.graph` can see every reader. The structure is read off the
weights, whoever made them; the result is held against the dense network on real and random inputs before it is given.
"""

from __future__ import annotations

import copy
import warnings
from typing import Any, cast

import torch
from torch import nn
from torch.nn.parameter import is_lazy
from torch.nn.utils import parametrize

from torch_growl.errors import CompactionError, GrowlWarning, InvalidTypeError, InvalidValueError, LayerError
from torch_growl.examples import Inputs, split_inputs
from torch_growl.graph import Wiring, wiring_of
from torch_growl.inspection import plain_model
from torch_growl.layers import kind_of
from torch_growl.parametrized import make_plain_
from torch_growl.planning import fixed_modules, plan_structure
from torch_growl.proof import Proof, exact_arithmetic
from torch_growl.rewriting import shrink_
from torch_growl.structure import Structure, structure_of

__all__ = ["compact", "plain_copy", "structure_of"]


def compact(model: nn.Module, example_inputs: Any, *, full: bool = True, tolerance: float = 1e-5) -> nn.Module:
    """A smaller network with the same outputs: a plain ``nn.Module``, in the mode the given one is in.

    Modules keep their dotted names; a layer whose inputs are selected or summed becomes a Sequential of ``inputs`` and
    ``layer``. Zero rows and bit-equal rows are found in every layer of a registered type, frozen ones too.
    :func:`structure_of` tells what became of each layer and why no more.

    Args:
        model: the network; not modified, and not run (a copy is). Parametrizations are permanent in the copy.
        example_inputs: a tensor, a tuple of positional inputs or a dict of named ones, on the network's device.
        full: remove output channels too; otherwise each layer's own inputs only.
        tolerance: how far outputs may differ, as a part of the largest output, in (0, 1); half precision has its own
            table, :data:`torch_growl.proof.HALF_TOLERANCE`.

    Raises:
        LayerError: a layer has NaN or infinite weights.
        CompactionError: the network cannot be copied or run, or no smaller network with the same outputs was found.
    """
    if not isinstance(model, nn.Module):
        raise InvalidTypeError(f"model must be a torch.nn.Module, got {type(model).__name__}")
    if not 0 < tolerance < 1:
        raise InvalidValueError(f"tolerance must be in (0, 1), got {tolerance}")
    inputs = split_inputs(example_inputs)
    return _Maker(plain_copy(model), inputs, full, tolerance).smallest()


def plain_copy(model: nn.Module) -> nn.Module:
    """A copy of the network inside any wrappers, with parametrized weights made plain parameters.

    Raises:
        CompactionError: it cannot be copied.
    """
    try:
        dense = copy.deepcopy(plain_model(model))
    except Exception as error:  # whatever a user's module holds
        raise CompactionError(f"the network cannot be copied: {str(error).splitlines()[0]}") from error
    for parent in list(dense.modules()):
        for key, child in parent.named_children():
            parent._modules[key] = plain_model(child) if hasattr(child, "_orig_mod") else child
    for module in list(dense.modules()):
        if parametrize.is_parametrized(module):
            for name in list(cast(nn.ModuleDict, module.parametrizations)):
                make_plain_(module, name)
    return dense


class _Maker:
    """Plans a structure, proves it, and gives way where a network's own code does not allow a cut."""

    def __init__(self, dense: nn.Module, inputs: Inputs, full: bool, tolerance: float) -> None:
        self.dense = dense
        self.inputs = inputs
        self.full = full
        self.layers = {name: module for name, module in dense.named_modules() if kind_of(module) is not None}
        self.fixed = fixed_modules(dense)
        for name, module in self.layers.items():
            weight = module._parameters.get("weight")
            if weight is not None and not is_lazy(weight) and not bool(torch.isfinite(weight).all()):
                raise LayerError(f"layer {name!r} has NaN or infinite weights; it cannot be compacted")
        self.reference = copy.deepcopy(dense).eval()
        self.proof = Proof(self.reference, inputs, tolerance)

    def smallest(self) -> nn.Module:
        """The smallest network that answers as the dense one."""
        wiring = self._wiring()
        plan, small, fault = self._attempt(wiring)
        if fault:
            if self._leave_faulty_layers():
                wiring = self._wiring()
                plan, small, fault = self._attempt(wiring)
            if fault:
                plan, small = self._without_faulty_cuts(wiring, fault)
        if not any(layer.changed for layer in plan.layers):
            warnings.warn(_unchanged(plan), GrowlWarning, stacklevel=3)
        return small

    def _wiring(self) -> Wiring:
        if not self.full:
            return self._uncut("its output channels were left alone, as asked")
        with exact_arithmetic(self.reference):
            return wiring_of(self.reference, *self.inputs, self.fixed)

    def _uncut(self, reason: str) -> Wiring:
        return Wiring({}, {}, dict.fromkeys(self.layers, reason))

    def _attempt(self, wiring: Wiring) -> tuple[Structure, nn.Module, str]:
        plan = plan_structure(self.layers, wiring, self.fixed)
        small = shrink_(copy.deepcopy(self.dense), plan)
        return plan, small, self.proof.fault(copy.deepcopy(small).eval())

    def _leave_faulty_layers(self) -> bool:
        """Find, without any cut, the layers whose weight other code than their own forward reads; fix them."""
        plan, _, fault = self._attempt(self._uncut(""))
        if not fault:
            return False
        changed = [layer.name for layer in plan.layers if layer.changed]
        fixed = dict(self.fixed)
        for name in changed:
            self.fixed = {**fixed, **{other: "" for other in changed if other != name}}
            alone = self._attempt(self._uncut(""))[2]
            if alone:
                fixed[name] = f"a smaller layer was tried in its place and given up: {alone}"
        self.fixed = fixed
        if all(name in fixed for name in changed) or self._attempt(self._uncut(""))[2]:
            raise CompactionError(f"the smaller network does not answer as the given one: {fault}")
        return True

    def _without_faulty_cuts(self, wiring: Wiring, fault: str) -> tuple[Structure, nn.Module]:
        """Try each layer's removal of output channels alone and keep those that hold; if they fail together, none."""
        reasons = dict(wiring.reasons)
        for name, links in wiring.links.items():
            alone = self._attempt(Wiring({name: links}, wiring.norms, wiring.reasons))[2]
            if alone:
                reasons[name] = f"removing its output channels was tried and given up: {alone}"
        sound = {name: links for name, links in wiring.links.items() if name not in reasons}
        plan, small, rest = self._attempt(Wiring(sound, wiring.norms, reasons))
        if rest:
            given_up = f"removing output channels was tried and given up: {fault}"
            plan, small, _ = self._attempt(Wiring({}, {}, {**dict.fromkeys(wiring.links, given_up), **reasons}))
        return plan, small


def _unchanged(plan: Structure) -> str:
    text = "no zero rows and no bit-equal rows: the network is returned as it is (a copy)"
    if any("rows could go" in layer.reason for layer in plan.layers):
        text = "nothing worth its index can be removed: the network is returned as it is (a copy)"
    return text + "; structure_of(...) tells why, layer by layer"
